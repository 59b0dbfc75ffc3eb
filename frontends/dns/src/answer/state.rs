//! The number of the state, told as data: TXT at `_state.<zone>`.
//!
//! The name exists in every zone, whatever the zone's file says, with a TXT record of TTL 0 that holds the number in
//! decimal digits. A zone's own data of other types at that name, or below it, is answered as ever.

use synod_types::StateNdx;
use synod_zone::Zone;
use synod_zone::zone::{Cover, Found};

const LABEL: &[u8] = b"\x06_state";
/// Digits of the largest number of 64 bits.
const DIGITS_MAX: usize = 20;

/// What a name has to do with `_state.<zone>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StateName {
    /// It is the name.
    Itself,
    /// It is the name, and the zone has data there, too.
    ItselfWithData,
    /// It is below the name, at which the zone has no data.
    Below,
    /// Nothing.
    Other,
}

/// What a name in lower case, which was looked up in the zone, has to do with `_state.<zone>`.
pub(super) fn of(zone: &Zone, name: &[u8], found: Found<'_>) -> StateName {
    let end = name.len() - zone.origin().as_wire().len();
    let Some(begin) = end.checked_sub(LABEL.len()) else { return StateName::Other };
    if name[begin..end] != *LABEL || !is_label_start(name, begin) {
        return StateName::Other;
    }
    // Beyond the origin's node there is data, or the zone is not what answers.
    let has_data = !found.node.is_apex() || !matches!(found.node.cover_below(), Cover::None);
    match (begin, has_data) {
        (0, true) => StateName::ItselfWithData,
        (0, false) => StateName::Itself,
        (_, true) => StateName::Other,
        (_, false) => StateName::Below,
    }
}

fn is_label_start(name: &[u8], place: usize) -> bool {
    let mut at = 0;
    while at < place {
        at += 1 + usize::from(name[at]);
    }
    at == place
}

/// A number in decimal digits, without an allocation.
pub(super) struct Decimal {
    digits: [u8; DIGITS_MAX],
    begin: usize,
}

impl Decimal {
    pub(super) fn of(state_ndx: StateNdx) -> Decimal {
        let mut number = Decimal { digits: [b'0'; DIGITS_MAX], begin: DIGITS_MAX };
        let mut rest = state_ndx.0;
        loop {
            number.begin -= 1;
            number.digits[number.begin] += u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
            if rest == 0 {
                return number;
            }
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.begin..]
    }

    /// The data of a TXT record: one character string.
    pub(super) fn txt(&self, rdata: &mut [u8; DIGITS_MAX + 1]) -> usize {
        let digits = self.as_bytes();
        rdata[0] = u8::try_from(digits.len()).expect("at most 20");
        rdata[1..=digits.len()].copy_from_slice(digits);
        1 + digits.len()
    }
}
