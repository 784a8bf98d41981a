//! How a segment looks: a block with its header, then one frame a batch.
//!
//! ```text
//! header, at 0 and again at 2048:  "hobnail" version | number u32 | first u64 | epoch u64 | crc u32
//! frame:  crc of head u32 | crc of body u32 | len u32 | number u64 | synced u64 | body
//! ```
//!
//! The version is that of everything on the disk, of the rows and keys that an agent makes too.
//!
//! Little-endian. The head's CRC begins with the segment's epoch, which is drawn at random, and the frame's offset, so a
//! frame of another segment or from another place never passes for one.

/// Both copies of the header; nothing else is ever written there.
pub(super) const HEADER: usize = 4096;
const COPIES: [usize; 2] = [0, 2048];
const HEADER_LEN: usize = 32;
pub(super) const HEAD: usize = 28;

/// Batches count from 1 and never get so far; what says otherwise is no header and no frame.
const NUMBER_MAX: u64 = 1 << 62;

const MAGIC: &[u8; 7] = b"hobnail";
const VERSION: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Its place among the segments, as in its name.
    pub number: u32,
    /// The first batch of it. What earlier segments hold from there on does not count.
    pub first: u64,
    pub epoch: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadHeader {
    #[error("it is no segment, or its header is damaged")]
    Damaged,
    #[error("it has version {0} of the format, which this hobnail does not know")]
    Version(u8),
}

impl Header {
    pub fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(HEADER_LEN);
        copy.extend_from_slice(MAGIC);
        copy.push(VERSION);
        copy.extend_from_slice(&self.number.to_le_bytes());
        copy.extend_from_slice(&self.first.to_le_bytes());
        copy.extend_from_slice(&self.epoch.to_le_bytes());
        copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
        let mut block = vec![0; HEADER];
        for at in COPIES {
            if let Some(space) = block.get_mut(at..at + HEADER_LEN) {
                space.copy_from_slice(&copy);
            }
        }
        block
    }

    /// From the first bytes of a file.
    pub fn decode(block: &[u8]) -> Result<Self, BadHeader> {
        let mut why = BadHeader::Damaged;
        for at in COPIES {
            let Some((copy, crc)) = block.get(at..).and_then(split::<HEADER_LEN>).and_then(split_crc) else { continue };
            if !copy.starts_with(MAGIC) {
                continue;
            }
            match copy.get(MAGIC.len()) {
                Some(&VERSION) if crc == crc32c::crc32c(copy) && (1..=NUMBER_MAX).contains(&u64_at(copy, 12)) => {
                    return Ok(Self { number: u32_at(copy, 8), first: u64_at(copy, 12), epoch: u64_at(copy, 20) });
                }
                Some(&VERSION) | None => {}
                Some(&other) => why = BadHeader::Version(other),
            }
        }
        Err(why)
    }
}

/// What stands before a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub body_crc: u32,
    pub len: u32,
    /// Batches count up by one.
    pub number: u64,
    /// The newest batch that was known to be on the disk when this one was written.
    pub synced: u64,
}

impl Head {
    pub fn encode(&self, epoch: u64, offset: u32) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[4..8].copy_from_slice(&self.body_crc.to_le_bytes());
        head[8..12].copy_from_slice(&self.len.to_le_bytes());
        head[12..20].copy_from_slice(&self.number.to_le_bytes());
        head[20..].copy_from_slice(&self.synced.to_le_bytes());
        let seal = seal(&head[4..], epoch, offset);
        head[..4].copy_from_slice(&seal.to_le_bytes());
        head
    }

    /// `None` unless it is a head that was written at just this place.
    pub fn decode(bytes: &[u8], epoch: u64, offset: u32) -> Option<Self> {
        let head = split::<HEAD>(bytes)?;
        let fields = head.get(4..)?;
        let (len, number) = (u32_at(head, 8), u64_at(head, 12));
        if len == 0 {
            return None;
        }
        (u32_at(head, 0) == seal(fields, epoch, offset) && number <= NUMBER_MAX).then(|| Self {
            body_crc: u32_at(head, 4),
            len,
            number,
            synced: u64_at(head, 20),
        })
    }
}

fn seal(fields: &[u8], epoch: u64, offset: u32) -> u32 {
    let crc = crc32c::crc32c(&epoch.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &offset.to_le_bytes()), fields)
}

fn split<const N: usize>(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(..N)
}

fn split_crc(copy: &[u8]) -> Option<(&[u8], u32)> {
    let (body, crc) = copy.split_last_chunk::<4>()?;
    Some((body, u32::from_le_bytes(*crc)))
}

/// Zero beyond the end, which no caller asks for.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |field| u32::from_le_bytes(*field))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |field| u64::from_le_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER_1: Header = Header { number: 1, first: 2, epoch: 3 };
    const HEAD_1: Head = Head { body_crc: 1, len: 2, number: 3, synced: 4 };

    #[test]
    fn either_copy_of_a_header_is_enough() {
        let block = HEADER_1.encode();
        assert_eq!(block.len(), HEADER);
        for at in COPIES {
            let mut one_gone = block.clone();
            one_gone[at + 9] ^= 1;
            assert_eq!(Header::decode(&one_gone), Ok(HEADER_1));
        }
        assert_eq!(Header::decode(&vec![0; HEADER]), Err(BadHeader::Damaged));
        assert_eq!(Header::decode(b""), Err(BadHeader::Damaged));
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut block = HEADER_1.encode();
        for at in COPIES {
            block[at + MAGIC.len()] = 9;
        }
        assert_eq!(Header::decode(&block), Err(BadHeader::Version(9)));
    }

    #[test]
    fn a_head_passes_only_where_it_was_written_and_unchanged() {
        let bytes = HEAD_1.encode(7, 4096);
        assert_eq!(Head::decode(&bytes, 7, 4096), Some(HEAD_1));
        assert_eq!(Head::decode(&bytes, 8, 4096), None);
        assert_eq!(Head::decode(&bytes, 7, 4097), None);
        for bit in 0..HEAD * 8 {
            let mut bent = bytes;
            bent[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::decode(&bent, 7, 4096), None, "bit {bit}");
        }
    }
}
