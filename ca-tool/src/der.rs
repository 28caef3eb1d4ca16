//! The little DER that rcgen can't write: a certificate whose issuer is given as bytes.
//!
//! rcgen keeps a name as a map from attribute type to value, so a CA's subject with two DCs or OUs loses one of them
//! when rcgen writes it as a leaf's issuer, and no client then finds the CA.

/// The tag of a SEQUENCE.
const SEQUENCE: u8 = 0x30;
/// The tag of a BIT STRING.
const BIT_STRING: u8 = 0x03;

/// The bytes are not the DER that was expected.
#[derive(Debug)]
pub(crate) struct Malformed;

/// Takes a certificate apart: the part to be signed with its issuer replaced by `issuer` (a whole DER `Name`), and the
/// signature's algorithm identifier.
pub(crate) fn with_issuer<'a>(certificate: &'a [u8], issuer: &[u8]) -> Result<(Vec<u8>, &'a [u8]), Malformed> {
    let (outer, _) = element(certificate)?;
    let (to_sign, rest) = element(outer.content)?;
    let (algorithm, _) = element(rest)?;
    // TBSCertificate: version, serialNumber, signature, issuer, and the rest (RFC 5280 4.1).
    let mut rest = to_sign.content;
    for _ in 0..3 {
        rest = element(rest)?.1;
    }
    let head = &to_sign.content[..to_sign.content.len() - rest.len()];
    let (_, tail) = element(rest)?;
    Ok((wrap(SEQUENCE, &[head, issuer, tail]), algorithm.whole))
}

/// Puts a certificate together from its signed part, algorithm identifier and signature.
pub(crate) fn certificate(to_sign: &[u8], algorithm: &[u8], signature: &[u8]) -> Vec<u8> {
    // The leading zero is the number of unused bits.
    let signature = wrap(BIT_STRING, &[&[0], signature]);
    wrap(SEQUENCE, &[to_sign, algorithm, &signature])
}

struct Element<'a> {
    whole: &'a [u8],
    content: &'a [u8],
}

/// The first element of `input`, and what follows it.
fn element(input: &[u8]) -> Result<(Element<'_>, &[u8]), Malformed> {
    let first = usize::from(*input.get(1).ok_or(Malformed)?);
    let (header, length) = if first < 0x80 {
        (2, first)
    } else {
        let octets = input.get(2..2 + (first & 0x7f)).ok_or(Malformed)?;
        if octets.is_empty() || octets.len() > 4 {
            return Err(Malformed);
        }
        (2 + octets.len(), octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)))
    };
    let end = header.checked_add(length).ok_or(Malformed)?;
    let whole = input.get(..end).ok_or(Malformed)?;
    Ok((Element { whole, content: &whole[header..] }, &input[end..]))
}

fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let octets = length.to_be_bytes();
        let skip = octets.iter().take_while(|octet| **octet == 0).count();
        out.push(0x80 | (octets.len() - skip) as u8);
        out.extend_from_slice(&octets[skip..]);
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_they_are_read() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![7; length];
            let whole = wrap(SEQUENCE, &[&content]);
            let (read, rest) = element(&whole).unwrap();
            assert_eq!(read.content, content);
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn a_cut_element_is_malformed() {
        let whole = wrap(SEQUENCE, &[&[1; 300]]);
        for length in 0..whole.len() {
            assert!(element(&whole[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn an_indefinite_or_huge_length_is_malformed() {
        assert!(element(&[0x30, 0x80, 0, 0]).is_err());
        assert!(element(&[0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1]).is_err());
    }
}
