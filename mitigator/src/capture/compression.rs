//! Takes the compression off a stream, if there is one: gzip (any number of members) or zstd (any
//! number of frames), recognised by the first bytes.

use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

const COMPRESSED_BUFFER_BYTES: usize = 128 * 1024;

/// `source` as it was before compression.
pub(crate) fn uncompressed(mut source: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut start = Vec::with_capacity(4);
    source.by_ref().take(4).read_to_end(&mut start)?;
    let is_gzip = start.starts_with(&[0x1f, 0x8b]);
    let is_zstd = is_zstd(&start);
    let whole = Cursor::new(start).chain(source);
    if !is_gzip && !is_zstd {
        return Ok(Box::new(whole));
    }
    let buffered = BufReader::with_capacity(COMPRESSED_BUFFER_BYTES, whole);
    Ok(if is_gzip {
        Box::new(MultiGzDecoder::new(buffered))
    } else {
        // Its default limit of 128 MiB for what a frame may refer back to bounds the memory.
        Box::new(zstd::Decoder::with_buffer(buffered)?)
    })
}

/// A frame, or the skippable frame that some parallel compressors write first.
fn is_zstd(start: &[u8]) -> bool {
    matches!(start, [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use crate::capture::samples::{PcapSample, Read, read_bytes};

    /// Packets that do not compress away, so that damage in the middle is damage in the middle.
    fn capture() -> Vec<u8> {
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..2_000)
            .fold(PcapSample::little_endian(1), |sample, second| {
                let bytes: Vec<u8> = (0..200).map(|_| noise()).collect();
                sample.packet(second, 0, 200, &bytes)
            })
            .bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        // As the command line tool does.
        encoder.include_checksum(true).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: Vec<u8>) -> Read {
        read_bytes(bytes).unwrap()
    }

    #[test]
    fn reads_through_gzip_and_zstd_of_one_or_more_parts() {
        let plain = capture();
        let (first, second) = plain.split_at(100_003);
        let skippable = [0x5a, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
        let expected = read(plain.clone());
        assert_eq!((expected.packets.len(), &expected.damage), (2_000, &None));
        for (description, compressed) in [
            ("gzip", gzip(&plain)),
            ("gzip, two members", [gzip(first), gzip(second)].concat()),
            ("gzip, an empty member first", [gzip(&[]), gzip(&plain)].concat()),
            ("zstd", zstd(&plain)),
            ("zstd, two frames", [zstd(first), zstd(second)].concat()),
            ("zstd, a skippable frame first", [&skippable[..], &zstd(&plain)].concat()),
        ] {
            assert!(read(compressed) == expected, "{description}");
        }
    }

    #[test]
    fn keeps_the_packets_before_the_compressed_stream_ends_or_breaks() {
        let plain = capture();
        let expected = read(plain.clone());
        for (description, compressed) in [("gzip", gzip(&plain)), ("zstd", zstd(&plain))] {
            let middle = compressed.len() / 2;
            let mut broken = compressed.clone();
            broken[middle..middle + 64].fill(0xff);
            for (description, bytes) in [
                (format!("{description}, cut"), compressed[..middle].to_vec()),
                (format!("{description}, broken"), broken),
                (format!("{description}, followed by something else"), [&compressed[..], b"else"].concat()),
            ] {
                let read = read(bytes);
                let damage = read.damage.expect(&description);
                assert_eq!(damage.packet, read.packets.len() as u64, "{description}");
                let end_of_last_packet = 24 + 216 * damage.packet;
                let reached = end_of_last_packet..end_of_last_packet + 216;
                assert!(reached.contains(&damage.offset_bytes), "{description}: {damage}");
                // What is lost is at most the zstd block that is broken; it holds 606 packets.
                assert!(damage.packet >= 606, "{description}: {damage}");
                assert!(read.packets[..606] == expected.packets[..606], "{description}");
                // Noise that became other noise may pass for packets until it makes no sense.
                if !description.ends_with("broken") {
                    assert!(damage.what.starts_with("cannot read on: "), "{description}: {damage}");
                    assert!(expected.packets.starts_with(&read.packets), "{description}");
                }
            }
        }
    }
}
