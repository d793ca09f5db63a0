//! Drawing audio: as a PNG, and with block characters in a terminal.

use std::io::BufWriter;
use std::path::Path;

/// Writes a wave form of `samples`, 1000 × 200 pixels.
pub fn write_png(path: &Path, samples: &[i16]) -> Result<(), String> {
    const WIDTH: usize = 1000;
    const HEIGHT: usize = 200;
    let mut pixels = vec![[0xff_u8; 3]; WIDTH * HEIGHT];
    let row = |value: f64| {
        ((0.5 - value * 0.5) * (HEIGHT - 1) as f64).round().clamp(0.0, (HEIGHT - 1) as f64) as usize
    };
    for (x, (low, high)) in envelope(samples, WIDTH).into_iter().enumerate() {
        for y in row(high)..=row(low) {
            pixels[y * WIDTH + x] = [0x1f, 0x5f, 0xa8];
        }
        pixels[HEIGHT / 2 * WIDTH + x] = [0x10, 0x30, 0x58];
    }
    let file = std::fs::File::create(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), WIDTH as u32, HEIGHT as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(|e| e.to_string())?;
    writer.write_image_data(&pixels.concat()).map_err(|e| e.to_string())
}

/// Lines of block characters: the loudness over time, mirrored.
pub fn terminal(samples: &[i16], columns: usize, rows: usize) -> Vec<String> {
    let peaks: Vec<f64> = envelope(samples, columns).iter().map(|(low, high)| high.max(-low)).collect();
    let blocks = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    (0..rows)
        .map(|row| {
            let floor = (rows - 1 - row) as f64;
            peaks
                .iter()
                .map(|peak| blocks[((peak * rows as f64 - floor) * 8.0).clamp(0.0, 8.0) as usize])
                .collect()
        })
        .collect()
}

/// Lowest and highest value of each column, scaled so that the loudest sample is ±1.
fn envelope(samples: &[i16], columns: usize) -> Vec<(f64, f64)> {
    let loudest = samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0).max(1);
    let scale = 1.0 / f64::from(loudest);
    (0..columns)
        .map(|x| {
            let range = x * samples.len() / columns..((x + 1) * samples.len() / columns).min(samples.len());
            let part = &samples[range];
            let low = part.iter().copied().min().unwrap_or(0).min(0);
            let high = part.iter().copied().max().unwrap_or(0).max(0);
            (f64::from(low) * scale, f64::from(high) * scale)
        })
        .collect()
}
