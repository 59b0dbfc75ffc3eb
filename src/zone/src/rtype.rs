//! The type of a record.

use std::fmt;
use std::str::FromStr;

/// The type of a record or of a question, as a number. [`Display`](fmt::Display) and [`FromStr`] use the mnemonic, or
/// `TYPE65280` for a type without one (RFC 3597 5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rtype(pub u16);

/// `text` names no type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a record type; write its mnemonic, or TYPE and its number")]
pub struct UnknownRtype;

/// Characters of the longest mnemonic.
const MNEMONIC_BYTES_MAX: usize = 10;

/// From each row: the constant, its number and its text.
macro_rules! rtypes {
    ($($constant:ident $number:literal $text:literal $what:literal)+) => {
        impl Rtype {
            $(
                #[doc = $what]
                pub const $constant: Rtype = Rtype($number);
            )+

            /// The mnemonic, if the type has one.
            pub fn mnemonic(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)+
                    _ => None,
                }
            }
        }

        /// Every type with a mnemonic, by number.
        pub(crate) const MNEMONICS: &[(&str, Rtype)] = &[$(($text, Rtype($number))),+];
    };
}

rtypes! {
    A 1 "A" "An IPv4 address (RFC 1035 3.4.1)."
    NS 2 "NS" "An authoritative name server (RFC 1035 3.3.11)."
    MD 3 "MD" "A mail destination, obsolete (RFC 1035 3.3.4)."
    MF 4 "MF" "A mail forwarder, obsolete (RFC 1035 3.3.5)."
    CNAME 5 "CNAME" "The canonical name of an alias (RFC 1035 3.3.1)."
    SOA 6 "SOA" "The start of a zone of authority (RFC 1035 3.3.13)."
    MB 7 "MB" "A mailbox's host (RFC 1035 3.3.3)."
    MG 8 "MG" "A member of a mail group (RFC 1035 3.3.6)."
    MR 9 "MR" "A mailbox's new name (RFC 1035 3.3.8)."
    NULL 10 "NULL" "Anything; has no presentation but the generic one (RFC 1035 3.3.10)."
    WKS 11 "WKS" "Well-known services of an address (RFC 1035 3.4.2)."
    PTR 12 "PTR" "A pointer to a name (RFC 1035 3.3.12)."
    HINFO 13 "HINFO" "Host information (RFC 1035 3.3.2), and the answer to ANY (RFC 8482)."
    MINFO 14 "MINFO" "Who is responsible for a mailbox (RFC 1035 3.3.7)."
    MX 15 "MX" "A mail exchange (RFC 1035 3.3.9)."
    TXT 16 "TXT" "Texts (RFC 1035 3.3.14)."
    RP 17 "RP" "A responsible person (RFC 1183 2.2)."
    AFSDB 18 "AFSDB" "An AFS database (RFC 1183 1)."
    X25 19 "X25" "An X.25 address (RFC 1183 3.1)."
    ISDN 20 "ISDN" "An ISDN address (RFC 1183 3.2)."
    RT 21 "RT" "A route through (RFC 1183 3.3)."
    NSAP 22 "NSAP" "An NSAP address (RFC 1706 5)."
    NSAP_PTR 23 "NSAP-PTR" "A pointer from an NSAP address (RFC 1348)."
    SIG 24 "SIG" "A signature of the first DNSSEC (RFC 2535 4)."
    KEY 25 "KEY" "A key of the first DNSSEC (RFC 2535 3)."
    PX 26 "PX" "A mapping to X.400 (RFC 2163 4)."
    GPOS 27 "GPOS" "A geographical position (RFC 1712)."
    AAAA 28 "AAAA" "An IPv6 address (RFC 3596 2.1)."
    LOC 29 "LOC" "A location (RFC 1876)."
    NXT 30 "NXT" "The next name of the first DNSSEC, obsolete (RFC 2535 5)."
    EID 31 "EID" "An endpoint's identifier (draft-ietf-nimrod-dns)."
    NIMLOC 32 "NIMLOC" "A Nimrod locator (draft-ietf-nimrod-dns)."
    SRV 33 "SRV" "A service's host and port (RFC 2782)."
    ATMA 34 "ATMA" "An ATM address (AF-DANS-0152.000)."
    NAPTR 35 "NAPTR" "A naming authority pointer (RFC 3403 4)."
    KX 36 "KX" "A key exchanger (RFC 2230 3)."
    CERT 37 "CERT" "A certificate (RFC 4398 2)."
    A6 38 "A6" "An IPv6 address in parts, historic (RFC 2874)."
    DNAME 39 "DNAME" "Another name for a whole subtree (RFC 6672 2)."
    SINK 40 "SINK" "A kitchen sink (draft-eastlake-kitchen-sink)."
    OPT 41 "OPT" "EDNS in a message; never in a zone (RFC 6891 6.1)."
    APL 42 "APL" "A list of address prefixes (RFC 3123 4)."
    DS 43 "DS" "A delegation's signer (RFC 4034 5)."
    SSHFP 44 "SSHFP" "An SSH key's fingerprint (RFC 4255 3)."
    IPSECKEY 45 "IPSECKEY" "An IPsec key (RFC 4025 2)."
    RRSIG 46 "RRSIG" "A signature of an RRset (RFC 4034 3)."
    NSEC 47 "NSEC" "The next name (RFC 4034 4)."
    DNSKEY 48 "DNSKEY" "A zone's key (RFC 4034 2)."
    DHCID 49 "DHCID" "A DHCP client's identifier (RFC 4701 3)."
    NSEC3 50 "NSEC3" "The next hashed name (RFC 5155 3)."
    NSEC3PARAM 51 "NSEC3PARAM" "How names are hashed (RFC 5155 4)."
    TLSA 52 "TLSA" "A TLS server's certificate (RFC 6698 2)."
    SMIMEA 53 "SMIMEA" "An S/MIME certificate (RFC 8162 2)."
    HIP 55 "HIP" "A host's identity (RFC 8005 5)."
    NINFO 56 "NINFO" "A zone's status (draft-reid-dnsext-zs)."
    RKEY 57 "RKEY" "A key for encrypting NAPTR data (draft-reid-dnsext-rkey)."
    TALINK 58 "TALINK" "A link between trust anchors (draft-wijngaards-dnsop-trust-history)."
    CDS 59 "CDS" "The DS that a child asks for (RFC 7344 3.1)."
    CDNSKEY 60 "CDNSKEY" "The DNSKEY that a child asks for (RFC 7344 3.2)."
    OPENPGPKEY 61 "OPENPGPKEY" "An OpenPGP key (RFC 7929 2)."
    CSYNC 62 "CSYNC" "What a parent shall copy from its child (RFC 7477 2)."
    ZONEMD 63 "ZONEMD" "A zone's digest (RFC 8976 2)."
    SVCB 64 "SVCB" "A service's binding (RFC 9460 2)."
    HTTPS 65 "HTTPS" "A service's binding for HTTP (RFC 9460 9)."
    DSYNC 66 "DSYNC" "Where to send notifications to (RFC 9859 2)."
    SPF 99 "SPF" "Sender policy, obsolete (RFC 7208 3.1)."
    NID 104 "NID" "An ILNP node's identifier (RFC 6742 2.1)."
    L32 105 "L32" "An ILNP locator of 32 bits (RFC 6742 2.2)."
    L64 106 "L64" "An ILNP locator of 64 bits (RFC 6742 2.3)."
    LP 107 "LP" "An ILNP locator's name (RFC 6742 2.4)."
    EUI48 108 "EUI48" "A 48-bit hardware address (RFC 7043 3)."
    EUI64 109 "EUI64" "A 64-bit hardware address (RFC 7043 4)."
    NXNAME 128 "NXNAME" "A name that does not exist, in an NSEC of a compact answer only (RFC 9824 2)."
    TKEY 249 "TKEY" "A key for messages; never in a zone (RFC 2930)."
    TSIG 250 "TSIG" "A message's signature; never in a zone (RFC 8945)."
    IXFR 251 "IXFR" "A question: the zone's changes (RFC 1995)."
    AXFR 252 "AXFR" "A question: the whole zone (RFC 5936)."
    MAILB 253 "MAILB" "A question: mailbox records (RFC 1035 3.2.3)."
    MAILA 254 "MAILA" "A question: mail agents, obsolete (RFC 1035 3.2.3)."
    ANY 255 "ANY" "A question: all types (RFC 1035 3.2.3, RFC 8482)."
    URI 256 "URI" "A service's address (RFC 7553 4)."
    CAA 257 "CAA" "Who may issue certificates (RFC 8659 4)."
    AVC 258 "AVC" "Application visibility and control (IANA registration)."
    DOA 259 "DOA" "A digital object (draft-durand-doa-over-dns)."
    AMTRELAY 260 "AMTRELAY" "A multicast tunnel's relay (RFC 8777 4)."
    RESINFO 261 "RESINFO" "What a resolver can do (RFC 9606 5)."
    WALLET 262 "WALLET" "A wallet's address (IANA registration)."
    TA 32768 "TA" "A trust authority (INI1999-19)."
    DLV 32769 "DLV" "A look-aside signer, obsolete (RFC 4431 3)."
    ANAME 65305 "ANAME" "An alias that may stand at an apex, experimental (draft-ietf-dnsop-aname)."
}

impl Rtype {
    /// Whether this type lives in questions and messages only, so that no zone holds it (RFC 6895 3.1).
    pub fn is_meta(self) -> bool {
        matches!(self.0, 0 | 41 | 128..=255)
    }

    /// The type that a zone file writes like this, in any case.
    pub(crate) fn from_text(text: &[u8]) -> Option<Rtype> {
        let mut upper = [0; MNEMONIC_BYTES_MAX];
        let upper = upper.get_mut(..text.len())?;
        upper.copy_from_slice(text);
        upper.make_ascii_uppercase();
        // The usual types come first, without a search.
        match &*upper {
            b"A" => return Some(Rtype::A),
            b"AAAA" => return Some(Rtype::AAAA),
            b"NS" => return Some(Rtype::NS),
            b"CNAME" => return Some(Rtype::CNAME),
            b"MX" => return Some(Rtype::MX),
            b"TXT" => return Some(Rtype::TXT),
            b"PTR" => return Some(Rtype::PTR),
            _ => {}
        }
        if let Some(number) = upper.strip_prefix(b"TYPE") {
            return crate::number::decimal(number).map(Rtype);
        }
        MNEMONICS.iter().find(|(mnemonic, _)| mnemonic.as_bytes() == upper).map(|&(_, rtype)| rtype)
    }
}

impl fmt::Display for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(mnemonic) => f.pad(mnemonic),
            None => f.pad(&format!("TYPE{}", self.0)),
        }
    }
}

impl fmt::Debug for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Rtype {
    type Err = UnknownRtype;

    fn from_str(text: &str) -> Result<Rtype, UnknownRtype> {
        Rtype::from_text(text.as_bytes()).ok_or(UnknownRtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back() {
        for number in 0..=u16::MAX {
            let text = Rtype(number).to_string();
            assert_eq!(text.parse(), Ok(Rtype(number)), "{text}");
            assert_eq!(text.to_lowercase().parse(), Ok(Rtype(number)), "{text}");
            assert_eq!(format!("TYPE{number}").parse(), Ok(Rtype(number)));
        }
    }

    #[test]
    fn what_is_no_type_is_none() {
        for text in ["", "TYPE", "TYPE65536", "TYPE-1", "TYPE+1", "TYPE1x", "AA", "NSEC33", "CLASS1", "A "] {
            assert_eq!(text.parse::<Rtype>(), Err(UnknownRtype), "{text}");
        }
    }

    #[test]
    fn rows_are_in_order_and_no_text_is_too_long() {
        assert!(MNEMONICS.windows(2).all(|pair| pair[0].1 < pair[1].1));
        assert!(MNEMONICS.iter().all(|(text, _)| text.len() <= MNEMONIC_BYTES_MAX));
    }
}
