//! Doors for the fuzz targets into what is private here. Compiled for them only.

use super::sidecar::Sidecar;

/// Reads `bytes` as a sidecar; what could be read is written and read once more.
///
/// # Panics
/// When it did not read back the same.
pub fn sidecar_reads_back(bytes: &[u8]) {
    if let Ok(sidecar) = Sidecar::from_bytes(bytes) {
        let again = Sidecar::from_bytes(&sidecar.to_bytes().expect("a sidecar is JSON"));
        assert_eq!(again.expect("what was written can be read"), sidecar);
    }
}
