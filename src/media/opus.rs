//! Opus packets from outside: how long they last, and packets of silence (RFC 6716, section 3).

use super::SAMPLES_PER_MS;

/// The largest packet there can be: 48 frames of 2.5 ms with 1,275 bytes, and their lengths.
pub(super) const MAX_PACKET_BYTES: usize = 48 * 1_277;
/// The longest packet there can be: 120 ms.
const MAX_PACKET_SAMPLES: u64 = 120 * SAMPLES_PER_MS;

/// What an `OpusHead` says (RFC 7845, section 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OpusHead {
    pub(super) channels: u8,
    /// Samples that a decoder throws away at the start.
    pub(super) pre_skip: u16,
}

impl OpusHead {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(b"OpusHead")?;
        match rest {
            [_version, channels, low, high, ..] if *channels > 0 => {
                Some(Self { channels: *channels, pre_skip: u16::from_le_bytes([*low, *high]) })
            }
            _ => None,
        }
    }

    pub(super) const fn to_bytes(self) -> [u8; 19] {
        let mut bytes = *b"OpusHead\x01\0\0\0\x80\xBB\0\0\0\0\0";
        bytes[9] = self.channels;
        [bytes[10], bytes[11]] = self.pre_skip.to_le_bytes();
        bytes
    }
}

/// How many samples a packet lasts; `None` for what is no packet.
pub(super) fn samples(packet: &[u8]) -> Option<u64> {
    let (&toc, rest) = packet.split_first()?;
    let config = toc >> 3;
    let frame_ms_quarters: u64 = match config {
        0..=11 => [40, 80, 160, 240][usize::from(config & 3)],
        12..=15 => [40, 80][usize::from(config & 1)],
        _ => [10, 20, 40, 80][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(rest.first()? & 0x3F),
    };
    let samples = frames * frame_ms_quarters * SAMPLES_PER_MS / 4;
    (samples > 0 && samples <= MAX_PACKET_SAMPLES && packet.len() <= MAX_PACKET_BYTES).then_some(samples)
}

/// A packet of silence of at most `samples`, and what it lasts; `None` below 2.5 ms, the shortest frame. A frame of `FF FE` decodes to
/// nothing, in each of the frame lengths of the full-band codec.
pub(super) const fn silence(samples: u64) -> Option<(&'static [u8], u64)> {
    match samples {
        0..120 => None,
        120..240 => Some((&[0xE0, 0xFF, 0xFE], 120)),
        240..480 => Some((&[0xE8, 0xFF, 0xFE], 240)),
        480..960 => Some((&[0xF0, 0xFF, 0xFE], 480)),
        960..2880 => Some((&[0xF8, 0xFF, 0xFE], 960)),
        _ => Some((&[0xFB, 0x03, 0xFF, 0xFE, 0xFF, 0xFE, 0xFF, 0xFE], 2880)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_tell_how_long_they_last() {
        assert_eq!(samples(&[0x78, 1, 2]), Some(960));
        assert_eq!(samples(&[0x03 | 3 << 3, 1]), Some(2880));
        assert_eq!(samples(&[0xE0]), Some(120));
        assert_eq!(samples(&[0xF9, 0]), Some(1920));
        // Seven frames of 20 ms, none at all, and no packet.
        for bad in [&[0xFB, 7][..], &[0xFB, 0], &[0xFB], &[]] {
            assert_eq!(samples(bad), None);
        }
    }

    #[test]
    fn silence_lasts_as_long_as_it_says() {
        for wanted in 0..10_000 {
            let packet = silence(wanted);
            assert_eq!(packet.is_none(), wanted < 120);
            if let Some((bytes, lasts)) = packet {
                assert!(lasts <= wanted);
                assert_eq!(samples(bytes), Some(lasts));
            }
        }
    }

    #[test]
    fn a_head_reads_back() {
        let head = OpusHead { channels: 2, pre_skip: 312 };
        assert_eq!(OpusHead::parse(&head.to_bytes()), Some(head));
        assert_eq!(OpusHead::parse(b"OpusHead\x01"), None);
        assert_eq!(OpusHead::parse(b"OpusHead\x01\0\0\0"), None);
    }
}
