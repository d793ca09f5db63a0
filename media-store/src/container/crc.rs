//! Checksums of frames and pages: most significant bit first, initial value 0, nothing inverted.

/// CRC-8 of FLAC frame headers (x⁸ + x² + x + 1).
pub(super) fn crc8(octets: &[u8]) -> u8 {
    octets.iter().fold(0, |crc, octet| CRC8[usize::from(crc ^ octet)])
}

/// CRC-16 of FLAC frames (x¹⁶ + x¹⁵ + x² + 1).
pub(super) fn crc16(octets: &[u8]) -> u16 {
    octets.iter().fold(0, |crc, octet| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ octet)])
}

/// CRC-32 of Ogg pages (RFC 3533 §6).
pub(super) fn crc32(octets: &[u8]) -> u32 {
    octets.iter().fold(0, |crc, octet| (crc << 8) ^ CRC32[usize::from((crc >> 24) as u8 ^ octet)])
}

const CRC8: [u8; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        table[n] = step(n as u32, 8, 0x07) as u8;
        n += 1;
    }
    table
};

const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        table[n] = step(n as u32, 16, 0x8005) as u16;
        n += 1;
    }
    table
};

const CRC32: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        table[n] = step(n as u32, 32, 0x04c1_1db7);
        n += 1;
    }
    table
};

const fn step(octet: u32, width: u32, polynomial: u32) -> u32 {
    let top = 1_u64 << (width - 1);
    let mask = (1_u64 << width) - 1;
    let mut crc = (octet as u64) << (width - 8);
    let mut bit = 0;
    while bit < 8 {
        crc = if crc & top != 0 { (crc << 1) ^ polynomial as u64 } else { crc << 1 } & mask;
        bit += 1;
    }
    crc as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_check_values() {
        assert_eq!(crc8(b"123456789"), 0xf4);
        assert_eq!(crc16(b"123456789"), 0xfee8);
        assert_eq!(crc32(b"123456789"), 0x89a1_897f);
    }
}
