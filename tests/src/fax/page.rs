//! A page as a TIFF file.

use std::ffi::{CString, c_void};
use std::path::Path;

use super::library::library;

/// Octets of a line of 1728 dots.
const LINE: usize = 216;

/// Writes a page with this many lines: text-like blocks, bars and a slope, not compressed.
pub fn write(path: &Path, lines: usize) -> std::io::Result<()> {
    let dot = |x: usize, y: usize| match y / 20 % 4 {
        0 => (x / 8).is_multiple_of(3) && y % 20 < 12,
        1 => (x + 3 * y) % 97 < 20,
        2 => x.is_multiple_of(41 + y % 5),
        _ => false,
    };
    let octet =
        |x: usize, y: usize| (0..8).fold(0u8, |octet, bit| octet << 1 | u8::from(dot(8 * x + bit, y)));
    let pixels: Vec<u8> =
        (0..lines).flat_map(|y| (0..LINE).map(move |x| (x, y))).map(|(x, y)| octet(x, y)).collect();
    // (tag, type, value): one strip, 204 × 196 dots an inch.
    const ENTRIES: usize = 12;
    let after = 8 + 2 + ENTRIES * 12 + 4;
    let entries: [(u16, u16, u32); ENTRIES] = [
        (256, 3, 1728),
        (257, 4, lines as u32),
        (258, 3, 1),
        (259, 3, 1),
        (262, 3, 0),
        (273, 4, after as u32 + 16),
        (277, 3, 1),
        (278, 4, lines as u32),
        (279, 4, pixels.len() as u32),
        (282, 5, after as u32),
        (283, 5, after as u32 + 8),
        (296, 3, 2),
    ];
    let mut file = Vec::from(*b"II*\0\x08\0\0\0");
    file.extend((ENTRIES as u16).to_le_bytes());
    for (tag, kind, value) in entries {
        file.extend(tag.to_le_bytes().into_iter().chain(kind.to_le_bytes()).chain(1u32.to_le_bytes()));
        file.extend(value.to_le_bytes());
    }
    file.extend([0; 4]);
    for resolution in [204u32, 196] {
        file.extend(resolution.to_le_bytes().into_iter().chain(1u32.to_le_bytes()));
    }
    file.extend(pixels);
    std::fs::write(path, file)
}

/// The lines of the first page of a file, black as 1.
pub fn lines(path: &Path) -> Option<Vec<Vec<u8>>> {
    let library = library()?;
    let name = CString::new(path.to_str()?).ok()?;
    let (mut count, mut photometric) = (0u32, 0u16);
    let mut lines = Vec::new();
    // SAFETY: the functions are used as the library's manual says: tags 257 and 262 give 32 and 16 bits.
    unsafe {
        let tiff = (library.tiff_open)(name.as_ptr(), c"r".as_ptr());
        if tiff.is_null() {
            return None;
        }
        (library.tiff_get_field)(tiff, 257, &raw mut count);
        (library.tiff_get_field)(tiff, 262, &raw mut photometric);
        let mut line = vec![0u8; (library.tiff_scanline_size)(tiff) as usize];
        for row in 0..count {
            if (library.tiff_read_scanline)(tiff, line.as_mut_ptr().cast::<c_void>(), row, 0) != 1 {
                break;
            }
            lines.push(if photometric == 0 { line.clone() } else { line.iter().map(|o| !o).collect() });
        }
        (library.tiff_close)(tiff);
    }
    Some(lines)
}
