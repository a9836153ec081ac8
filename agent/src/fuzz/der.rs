//! Changes of DER that leave it DER: a value in it is changed, left out, told twice or put elsewhere, and the lengths of all
//! that it is part of are written anew.

use fastrand::Rng;

/// A value; those that are made of others have no bytes of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    tag: u8,
    inside: Result<Vec<Value>, Vec<u8>>,
}

const CONSTRUCTED: u8 = 0x20;
const OCTET_STRING: u8 = 4;

/// Values inside each other that are looked at, at most.
const DEEPEST: usize = 12;

/// Tags that readers tell apart: boolean, integer, bits, octets, null, object, UTF-8, sequence, set, printable, IA5, times, names.
const TAGS: [u8; 17] = [1, 2, 3, 4, 5, 6, 0x0c, 0x30, 0x31, 0x13, 0x16, 0x17, 0x18, 0x82, 0x86, 0x87, 0xa0];

/// A changed copy; none where the bytes are no DER.
pub(super) fn mutate(rng: &mut Rng, bytes: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    let (mut values, others) = (read(bytes, 0)?, read(other, 0).unwrap_or_default());
    let count: usize = values.iter().map(Value::count).sum();
    let target = rng.usize(..count);
    let taken = nth(&others, rng.usize(..=count));
    change(rng, &mut values, &mut (target + 1), taken.as_ref());
    Some(values.iter().flat_map(Value::written).collect())
}

/// Changes the value that `left` counts down to.
fn change(rng: &mut Rng, values: &mut Vec<Value>, left: &mut usize, taken: Option<&Value>) {
    for index in 0..values.len() {
        *left = left.saturating_sub(1);
        if *left == 0 {
            return change_at(rng, values, index, taken);
        }
        if let Some(Ok(inside)) = values.get_mut(index).map(|value| value.inside.as_mut()) {
            change(rng, inside, left, taken);
            if *left == 0 {
                return;
            }
        }
    }
}

fn change_at(rng: &mut Rng, values: &mut Vec<Value>, index: usize, taken: Option<&Value>) {
    let value = &mut values[index];
    match (rng.u8(0..8), &mut value.inside, taken) {
        (0, ..) => drop(values.remove(index)),
        (1, ..) => values.insert(index, values[index].clone()),
        (2, ..) => value.tag = rng.choice(TAGS).unwrap_or_default(),
        (3, _, Some(taken)) => values.insert(index, taken.clone()),
        (4, _, Some(taken)) => values[index] = taken.clone(),
        (_, Err(bytes), _) if !bytes.is_empty() => change_bytes(rng, bytes),
        (_, Ok(inside), _) if inside.len() > 1 => {
            let one = rng.usize(..inside.len());
            inside.swap(0, one);
        }
        _ => value.inside = Err(vec![rng.u8(..)]),
    }
}

fn change_bytes(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let at = rng.usize(..bytes.len());
    match rng.u8(0..5) {
        0 => bytes[at] = rng.u8(..),
        1 => bytes[at] ^= 1 << rng.u8(..8),
        2 => drop(bytes.remove(at)),
        3 => bytes.insert(at, rng.choice(*b"\0\xff/*.a-;,\"").unwrap_or_default()),
        _ => bytes.truncate(at),
    }
}

fn nth(values: &[Value], mut index: usize) -> Option<Value> {
    for value in values {
        let count = value.count();
        match (index, &value.inside) {
            (0, _) => return Some(value.clone()),
            (index, Ok(inside)) if index < count => return nth(inside, index - 1),
            _ => index -= count.min(index),
        }
    }
    None
}

/// All values that follow each other; none where they are not DER to the end.
fn read(mut bytes: &[u8], depth: usize) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    while let Some((&tag, rest)) = bytes.split_first() {
        let (length, rest) = length(rest)?;
        let (content, rest) = rest.split_at_checked(length)?;
        let may_have = tag & CONSTRUCTED != 0 || tag == OCTET_STRING;
        let inside = if may_have && depth < DEEPEST { read(content, depth + 1) } else { None };
        values.push(Value { tag, inside: inside.filter(|inside| !inside.is_empty()).ok_or(content.to_vec()) });
        bytes = rest;
    }
    Some(values)
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(digits, _)| digits.len() <= 3)?;
    Some((digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest))
}

impl Value {
    fn count(&self) -> usize {
        1 + self.inside.iter().flatten().map(Self::count).sum::<usize>()
    }

    fn written(&self) -> Vec<u8> {
        let content = match &self.inside {
            Ok(inside) => inside.iter().flat_map(Self::written).collect(),
            Err(bytes) => bytes.clone(),
        };
        let length = content.len();
        let digits: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|digit| *digit == 0).collect();
        let length = match u8::try_from(length) {
            Ok(short) if short < 0x80 => vec![short],
            _ => [&[0x80 | digits.len() as u8], &digits[..]].concat(),
        };
        [&[self.tag], &length[..], &content].concat()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_is_read_is_written_as_it_was_and_what_is_changed_is_read() {
        let certificate = include_bytes!("../../corpus/certificate/leaf");
        let values = read(certificate, 0).unwrap();
        assert_eq!(values.iter().flat_map(Value::written).collect::<Vec<_>>(), certificate);
        assert!(values[0].count() > 40, "{} values", values[0].count());
        let mut rng = Rng::with_seed(1);
        let changed: Vec<_> = (0..100).map(|_| mutate(&mut rng, certificate, certificate).unwrap()).collect();
        let different = changed.iter().filter(|changed| changed.as_slice() != certificate).count();
        assert!(different > 80 && changed.iter().all(|changed| read(changed, 0).is_some()), "{different} differ");
    }
}
