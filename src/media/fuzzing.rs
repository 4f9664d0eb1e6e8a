//! Doors for the fuzz targets into what is private here. Compiled for them only.

use super::frames::scan;
use crate::domain::AudioFormat;

/// Reads `bytes` as each container.
///
/// # Panics
/// When frames last longer than what they fill, or a mark is lost.
pub fn scan_any(bytes: &[u8]) {
    let marks = [(0, 0), (bytes.len() as u64 / 2, 10), (bytes.len() as u64, 20)];
    for format in [AudioFormat::WebM, AudioFormat::Ogg, AudioFormat::Unknown] {
        if let Ok(scan) = scan(format, bytes, &marks).expect("memory can be read") {
            assert!(scan.recorded <= scan.samples);
            assert_eq!(scan.arrived.len(), marks.len());
        }
    }
}
