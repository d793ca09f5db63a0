//! Fax gateway options (section 12 of the flag reference).

use super::read::{choose, each_string, set_int};
use super::{Apply, Decoder, Key};
use crate::negotiate::signal::T38Options;

pub(super) const KEYS: &[Key] = &[
    (&["T.38", "T38", "t.38", "t38"], |d, v| each_string(v, |word| option(d, word))),
    (
        &[
            "T.38-version",
            "T38-version",
            "t.38-version",
            "t38-version",
            "T.38 version",
            "T38 version",
            "t.38 version",
            "t38 version",
        ],
        |d, v| set_int(&mut d.signal.t38.version, v),
    ),
];

pub(super) const OPTIONS: &[Apply<T38Options>] = &[
    (&["decode"], |t| t.decode = true),
    (&["force"], |t| t.force = true),
    (&["stop"], |t| t.stop = true),
    (&["FEC", "fec"], |t| t.fec = true),
    (&["no-ECM", "no-ecm", "no ECM", "no ecm"], |t| t.no_ecm = true),
    (&["no-V17", "no-v17", "no-V.17", "no-v.17", "no V17", "no v17", "no V.17", "no v.17"], |t| {
        t.no_v17 = true
    }),
    (
        &[
            "no-V27ter",
            "no-v27ter",
            "no-V.27ter",
            "no-v.27ter",
            "no V27ter",
            "no v27ter",
            "no V.27ter",
            "no v.27ter",
        ],
        |t| t.no_v27ter = true,
    ),
    (&["no-V29", "no-v29", "no-V.29", "no-v.29", "no V29", "no v29", "no V.29", "no v.29"], |t| {
        t.no_v29 = true
    }),
    (&["no-V34", "no-v34", "no-V.34", "no-v.34", "no V34", "no v34", "no V.34", "no v.34"], |t| {
        t.no_v34 = true
    }),
    (&["no-IAF", "no-iaf", "no IAF", "no iaf"], |t| t.no_iaf = true),
];

/// A word of the list, or what follows a flag prefix. Counts in offering messages only.
pub(super) fn option(decoder: &mut Decoder<'_>, word: &str) {
    if !decoder.is_offering() {
        return;
    }
    if let Some(apply) = choose("T.38", word, OPTIONS) {
        apply(&mut decoder.signal.t38);
    }
}
