//! Writes one WebM with duration and cues.
//!
//! Promises: a cluster a second and a cue for each; the exact duration; one cluster in memory, and 16 bytes for each cue.

use std::io::{self, Seek, SeekFrom, Write};

use super::{SAMPLES_PER_MS, opus::OpusHead};

/// A seek lands at most this far before its place.
const CLUSTER_SAMPLES: u64 = 1_000 * SAMPLES_PER_MS;
/// A hostile bit rate makes shorter clusters, not larger buffers.
const CLUSTER_BYTES: usize = 256 * 1024;
/// What a decoder needs to hear before the place that is sought (RFC 7845, section 4.6): 80 ms.
const SEEK_PRE_ROLL_NS: u64 = 80_000_000;
const TRACK: u8 = 1;
const APP: &[u8] = b"ShopAloud";

pub(super) struct TrackWriter<W> {
    out: W,
    /// Bytes written, and those before the segment's body.
    written: u64,
    segment_at: u64,
    cues_place_at: u64,
    duration_at: u64,
    cluster: Vec<u8>,
    /// When the open cluster begins.
    cluster_ms: u64,
    cluster_began: u64,
    cues: Vec<(u64, u64)>,
    position: u64,
}

impl<W: Write + Seek> TrackWriter<W> {
    pub(super) fn begin(mut out: W, head: OpusHead) -> io::Result<Self> {
        let mut bytes = Vec::new();
        let ebml = [
            element(0x4286, &[1]),
            element(0x42F7, &[1]),
            element(0x42F2, &[4]),
            element(0x42F3, &[8]),
            element(0x4282, b"webm"),
            element(0x4287, &[4]),
            element(0x4285, &[2]),
        ];
        bytes.extend(element(0x1A45_DFA3, &ebml.concat()));
        // Its size is known at the end.
        bytes.extend(0x1853_8067_u32.to_be_bytes());
        bytes.extend([0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        let segment_at = bytes.len() as u64;

        let info_before =
            [element(0x002A_D7B1, &1_000_000_u32.to_be_bytes()), element(0x4489, &0_f64.to_be_bytes())].concat();
        let info = element(0x1549_A966, &[info_before, element(0x4D80, APP), element(0x5741, APP)].concat());
        let codec_delay = u64::from(head.pre_skip) * 1_000_000 / SAMPLES_PER_MS;
        let audio = [element(0xB5, &48_000_f64.to_be_bytes()), element(0x9F, &[head.channels])].concat();
        let entry = [
            element(0xD7, &[TRACK]),
            element(0x73C5, &[TRACK]),
            element(0x83, &[2]),
            element(0x9C, &[0]),
            element(0x86, b"A_OPUS"),
            element(0x63A2, &head.to_bytes()),
            element(0x56AA, &codec_delay.to_be_bytes()),
            element(0x56BB, &SEEK_PRE_ROLL_NS.to_be_bytes()),
            element(0xE1, &audio),
        ];
        let tracks = element(0x1654_AE6B, &element(0xAE, &entry.concat()));
        let seek = |id: u32, at: u64| {
            element(0x4DBB, &[element(0x53AB, &id.to_be_bytes()), element(0x53AC, &at.to_be_bytes())].concat())
        };
        let heads = |info_at, tracks_at, cues_at| {
            element(
                0x114D_9B74,
                &[seek(0x1549_A966, info_at), seek(0x1654_AE6B, tracks_at), seek(0x1C53_BB6B, cues_at)].concat(),
            )
        };
        let info_at = heads(0, 0, 0).len() as u64;
        let tracks_at = info_at + info.len() as u64;
        bytes.extend(heads(info_at, tracks_at, 0));
        // The place of the cues is the last number of the heads; the duration, the last of what stands before the names.
        let cues_place_at = bytes.len() as u64 - 8;
        let names = element(0x4D80, APP).len() + element(0x5741, APP).len();
        bytes.extend(info);
        let duration_at = (bytes.len() - names - 8) as u64;
        bytes.extend(tracks);
        out.write_all(&bytes)?;
        Ok(Self {
            out,
            written: bytes.len() as u64,
            segment_at,
            cues_place_at,
            duration_at,
            cluster: Vec::new(),
            cluster_ms: 0,
            cluster_began: 0,
            cues: Vec::new(),
            position: 0,
        })
    }

    /// The end of what was written, in samples.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// The next packet: there is nothing between packets.
    pub(super) fn packet(&mut self, bytes: &[u8], samples: u64) -> io::Result<()> {
        let is_full = self.position - self.cluster_began >= CLUSTER_SAMPLES || self.cluster.len() >= CLUSTER_BYTES;
        if is_full {
            self.end_cluster()?;
        }
        let ms = (self.position + SAMPLES_PER_MS / 2) / SAMPLES_PER_MS;
        if self.cluster.is_empty() {
            (self.cluster_ms, self.cluster_began) = (ms, self.position);
            self.cluster.extend(element(0xE7, &ms.to_be_bytes()));
        }
        let in_cluster = i16::try_from(ms - self.cluster_ms).unwrap_or(i16::MAX);
        self.cluster.push(0xA3);
        self.cluster.extend(size(bytes.len() as u64 + 4));
        self.cluster.push(0x80 | TRACK);
        self.cluster.extend(in_cluster.to_be_bytes());
        self.cluster.push(0x80);
        self.cluster.extend_from_slice(bytes);
        self.position += samples;
        Ok(())
    }

    fn end_cluster(&mut self) -> io::Result<()> {
        if self.cluster.is_empty() {
            return Ok(());
        }
        self.cues.push((self.cluster_ms, self.written - self.segment_at));
        let mut start = 0x1F43_B675_u32.to_be_bytes().to_vec();
        start.extend(size(self.cluster.len() as u64));
        self.out.write_all(&start)?;
        self.out.write_all(&self.cluster)?;
        self.written += (start.len() + self.cluster.len()) as u64;
        self.cluster.clear();
        Ok(())
    }

    /// Writes the cues and what is known only now. Answers the length in bytes.
    pub(super) fn end(mut self) -> io::Result<(W, u64)> {
        self.end_cluster()?;
        let cues_at = self.written - self.segment_at;
        let mut cues = Vec::new();
        for (ms, at) in &self.cues {
            let place = [element(0xF7, &[TRACK]), element(0xF1, &trimmed(*at))].concat();
            cues.extend(element(0xBB, &[element(0xB3, &trimmed(*ms)), element(0xB7, &place)].concat()));
        }
        let cues = element(0x1C53_BB6B, &cues);
        self.out.write_all(&cues)?;
        self.written += cues.len() as u64;
        let segment_size = self.written - self.segment_at;
        #[expect(clippy::cast_precision_loss, reason = "exact for 5,000 years")]
        let duration = self.position as f64 / SAMPLES_PER_MS as f64;
        self.patch(self.segment_at - 8, (segment_size | 1 << 56).to_be_bytes())?;
        self.patch(self.cues_place_at, cues_at.to_be_bytes())?;
        self.patch(self.duration_at, duration.to_be_bytes())?;
        self.out.flush()?;
        Ok((self.out, self.written))
    }

    fn patch(&mut self, at: u64, bytes: [u8; 8]) -> io::Result<()> {
        self.out.seek(SeekFrom::Start(at))?;
        self.out.write_all(&bytes)
    }
}

fn element(id: u32, body: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes();
    let mut bytes = id[(id.iter().take_while(|byte| **byte == 0).count())..].to_vec();
    bytes.extend(size(body.len() as u64));
    bytes.extend_from_slice(body);
    bytes
}

/// The shortest form but that of all ones, which means unknown.
fn size(value: u64) -> Vec<u8> {
    let length = (1..8).find(|length| value < (1 << (7 * length)) - 1).unwrap_or(8);
    let coded = value | 1 << (7 * length);
    coded.to_be_bytes()[8 - length..].to_vec()
}

fn trimmed(value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    bytes[bytes.iter().take_while(|byte| **byte == 0).count().min(7)..].to_vec()
}
