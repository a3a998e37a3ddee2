//! Numbers with a fraction, read from text. The standard library's reader rounds right at any length and keeps 16 kB of tables
//! and arithmetic for that; what people and servers write has a few digits, of which this makes the same number.

/// The number that a text is: a sign, digits with a point among them, and an exponent of ten, each but one digit optional.
pub fn decimal(text: &str) -> Option<f64> {
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let unsigned = number.strip_prefix(['+', '-']).unwrap_or(number);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if digits().next().is_none() || !digits().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let amount = digits().fold(0.0, |amount, digit| amount * 10.0 + f64::from(digit - b'0'));
    let places = i32::try_from(fraction.len()).ok()?;
    let scale = exponent.parse::<i32>().ok()?.saturating_sub(places);
    let power = 10_f64.powi(scale.saturating_abs());
    let amount = if scale < 0 { amount / power } else { amount * power };
    Some(if number.starts_with('-') { -amount } else { amount })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_the_number_of_the_standard_library() {
        let written = ["0", "1", "0.7", ".7", "7.", "+0.1", "-0.25", "1e3", "2.5E-1", "123456.789", "1764441969.42"];
        for text in written.into_iter().map(str::to_owned).chain((0..2000).map(|n| format!("0.{n:03}"))) {
            assert_eq!(decimal(&text), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for text in ["", ".", "-", "1,5", "1.2.3", "e3", "1e", "0x1", "inf", "NaN", " 1", "--1"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }
}
