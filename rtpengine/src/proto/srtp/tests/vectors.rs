//! Test vectors of RFC 3711 appendix B, RFC 6188 §7 and RFC 7714 §16, §17.

use super::super::cipher::{Aes, KeyStream, PacketId, derive};
use super::super::session::{Direction, Gcm};
use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().unwrap()
}

#[test]
fn counter_mode_key_streams() {
    // (source, session key, [(block counter, key stream)])
    type Case = (&'static str, &'static str, [(u16, &'static str); 2]);
    const CASES: &[Case] = &[
        (
            "RFC 3711 B.2",
            "2B7E151628AED2A6ABF7158809CF4F3C",
            [
                (
                    0,
                    "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
                     41E95B3BB0A2E8DD477901E4FCA894C0",
                ),
                (
                    0xfeff,
                    "EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE
                     6A2CC3787889374FBEB4C81B17BA6C44",
                ),
            ],
        ),
        (
            "RFC 6188 7.1, 192 bits",
            "eab234764e517b2d3d160d587d8c86219740f65f99b6bcf7",
            [
                (
                    0,
                    "35096cba4610028dc1b57503804ce37c 5de986291dcce161d5165ec4568f5c9a
                     474a40c77894bc17180202272a4c264d",
                ),
                (
                    0xfeff,
                    "d108d1a31a00bad6367ec23eb044b415 c8f57129fdeb970b59f917b257662d4c
                     a5dab625811034e8cebdfeb6dc158dd3",
                ),
            ],
        ),
        (
            "RFC 6188 7.1, 256 bits",
            "57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98",
            [
                (
                    0,
                    "92bdd28a93c3f52511c677d08b5515a4 9da71b2378a854f67050756ded165bac
                     63c4868b7096d88421b563b8c94c9a31",
                ),
                (
                    0xfeff,
                    "cea518c90fd91ced9cbb18c078a54711 3dbc4814f4da5f00a08772b63c6a046d
                     6eb246913062a16891433e97dd01a57f",
                ),
            ],
        ),
    ];
    for (name, key, streams) in CASES {
        let aes = Aes::new(&hex(key)).unwrap();
        for (counter, expected) in streams {
            let mut iv: [u8; 16] = array("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000");
            iv[14..].copy_from_slice(&counter.to_be_bytes());
            let mut octets = [0; 48];
            aes.counter_mode(iv, &mut octets);
            assert_eq!(octets.to_vec(), hex(expected), "{name}, counter {counter:#x}");
        }
    }
}

#[test]
fn key_derivation() {
    // (source, suite, master key and salt, session key, session salt, authentication key)
    type Case = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);
    const CASES: &[Case] = &[
        (
            "RFC 3711 B.3",
            "AES_CM_128_HMAC_SHA1_80",
            "E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6",
            "C61E7A93744F39EE10734AFE3FF7A087",
            "30CBBC08863D8C85D49DB34A9AE1",
            "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4",
        ),
        (
            "RFC 6188 7.2, 256 bits",
            "AES_256_CM_HMAC_SHA1_80",
            "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6
             3b04803de51ee7c96423ab5b78d2",
            "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4",
            "fa31791685ca444a9e07c6c64e93",
            "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05",
        ),
        (
            "RFC 6188 7.2, 192 bits",
            "AES_192_CM_HMAC_SHA1_80",
            "73edc66c4fa15776fb57f9505c171365 50ffda71f3e8e5f1 c8522f3acd4ce86d5add78edbb11",
            "31874736a8f1143870c26e4857d8a5b2c4a354407faadabb",
            "2372b82d639b6d8503a47adc0a6c",
            "355b10973cd95b9eacf4061c7e1a7151e7cfbfcb",
        ),
    ];
    for (name, suite, master, session_key, salt, authentication) in CASES {
        let suite = Suite::by_name(suite).unwrap();
        let master = MasterKey::new(suite, &hex(master), &[], SessionParameters::default()).unwrap();
        for (label, expected) in [(0, session_key), (2, salt), (1, authentication)] {
            let mut out = vec![0; hex(expected).len()];
            derive(&master, label, &mut out);
            assert_eq!(out, hex(expected), "{name}, label {label}");
        }
    }
}

#[test]
fn f8_mode() {
    // RFC 3711 B.1; its salt is shorter than that of the suites.
    let key_stream = KeyStream::f8(&hex("234829008467be186c3de14aae72d62c"), &hex("32f2870d")).unwrap();
    let header = hex("806e5cba50681de55c621599");
    let f8 = super::super::protect::f8_rtp(&header, array("d462564a"));
    assert_eq!(f8.to_vec(), hex("006e5cba50681de55c621599d462564a"));
    let mut octets = b"pseudorandomness is the next best thing".to_vec();
    key_stream.apply(&PacketId { ssrc: 0, index: 0, f8 }, &mut octets);
    let expected = "019ce7a26e7854014a6366aa95d4eefd 1ad4172a14f9faf455b7f1d4b62bd08f 562c0eef7c4802";
    assert_eq!(octets, hex(expected));
}

const GALLIA: &str = "47616c6c696120657374206f6d6e697320646976697361 20696e207061727465732074726573";

#[test]
fn gcm_rtp_packets() {
    // (source, key, payload and tag)
    const CASES: &[(&str, &str, &str)] = &[
        (
            "RFC 7714 16.1.1",
            "000102030405060708090a0b0c0d0e0f",
            "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833
             899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            "RFC 7714 16.2.1",
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b
             7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ];
    let header = hex("8040f17b8041f8d35501a0b2");
    for (name, key, expected) in CASES {
        let gcm = |direction| Gcm::with_session_key(&hex(key), array("517569642070726f2071756f"), direction);
        let mut octets = hex(GALLIA);
        let tag = gcm(Direction::Send).seal(0x5501_a0b2, 0xf17b, &header, &mut octets).unwrap();
        octets.extend(tag);
        assert_eq!(octets, hex(expected), "{name}");
        let (sealed, tag) = octets.split_at_mut(38);
        gcm(Direction::Receive).open(0x5501_a0b2, 0xf17b, &header, sealed, tag).unwrap();
        assert_eq!(sealed.to_vec(), hex(GALLIA), "{name}");
    }
}

#[test]
fn gcm_rtcp_packet() {
    // RFC 7714 17.1: index 0x5d4, encrypted.
    let packet = hex("81c8000d4d6172734e5450314e545032 525450200000042a0000e9304c756e61
         deadbeefdeadbeefdeadbeefdeadbeef deadbeef");
    let key = "000102030405060708090a0b0c0d0e0f";
    let mut gcm = Gcm::with_session_key(&hex(key), array("517569642070726f2071756f"), Direction::Send);
    let associated = super::super::protect::associated_rtcp(&packet, 0x8000_05d4_u32.to_be_bytes());
    let mut octets = packet[8..].to_vec();
    let tag = gcm.seal(0x4d61_7273, 0x5d4, &associated, &mut octets).unwrap();
    octets.extend(tag);
    let expected = "63e94885dcdab67ca727d7662f6b7e99 7ff5c0f76c06f32dc676a5f1730d6fda
                    4ce09b4686303ded0bb9275bc84aa458 96cf4d2fc5abf87245d9eade";
    assert_eq!(octets, hex(expected));
}
