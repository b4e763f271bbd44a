//! A zip archive of one uncompressed file, in memory: a folder to import from without anything on disk.
//!
//! For `base_plugin`, which the worker brings along and whose importers may be other processes (a plugin that
//! spawns Python children). Only what Python's `zipimport` reads is written.

/// Bytes of an archive that holds `content` as `name`.
///
/// # Panics
/// If name or content are beyond the sizes of the format (64 KiB, 4 GiB); both are built in.
#[must_use]
pub fn stored_zip(name: &str, content: &[u8]) -> Vec<u8> {
    let entry = entry(name, content);
    let mut zip = Vec::with_capacity(content.len() + 256);
    // Local header, name, content.
    zip.extend(0x0403_4b50u32.to_le_bytes());
    zip.extend(&entry);
    zip.extend(name.as_bytes());
    zip.extend(content);
    let directory = offset(&zip);
    // Central directory: made by, the same again, no comment, disk, attributes and offset all zero, name.
    zip.extend(0x0201_4b50u32.to_le_bytes());
    zip.extend(VERSION.to_le_bytes());
    zip.extend(&entry);
    zip.extend([0; 14]);
    zip.extend(name.as_bytes());
    let length = offset(&zip) - directory;
    // End: disks, one entry here, one in all, length and offset of the directory, no comment.
    zip.extend(0x0605_4b50u32.to_le_bytes());
    zip.extend([0, 0, 0, 0, 1, 0, 1, 0]);
    zip.extend(length.to_le_bytes());
    zip.extend(directory.to_le_bytes());
    zip.extend([0, 0]);
    zip
}

const VERSION: u16 = 10;
/// 1 January 1980, the oldest date there is.
const DATE: u16 = 1 << 5 | 1;

/// What local header and central directory say alike.
fn entry(name: &str, content: &[u8]) -> Vec<u8> {
    let length = offset(content).to_le_bytes();
    let name_length = u16::try_from(name.len()).expect("a name fits its field");
    let mut entry = Vec::with_capacity(26);
    entry.extend(VERSION.to_le_bytes());
    // Flags, method (stored), time.
    entry.extend([0; 6]);
    entry.extend(DATE.to_le_bytes());
    entry.extend(crc32(content).to_le_bytes());
    entry.extend(length);
    entry.extend(length);
    entry.extend(name_length.to_le_bytes());
    // No extra field.
    entry.extend([0; 2]);
    entry
}

fn offset(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("an archive of built-in sources is small")
}

/// The checksum of the format (CRC-32/ISO-HDLC), bit by bit: run once over a few kilobytes.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_format() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn the_end_record_finds_the_directory() {
        let zip = stored_zip("a.py", b"x = 1\n");
        let end = &zip[zip.len() - 22..];
        let at = u32::from_le_bytes([end[16], end[17], end[18], end[19]]) as usize;
        assert_eq!(zip[at..at + 4], 0x0201_4b50u32.to_le_bytes());
        assert_eq!(zip[at + 46..at + 50], *b"a.py");
    }
}
