//! Limits of foreign JSON, checked on its bytes before anything is built from them: the parser itself would go 128
//! levels deep and take a string of any length. What is no JSON may pass; the parser refuses it.

/// Deepest nesting of objects and arrays.
pub const DEPTH_MAX: usize = 64;

/// Longest string, in bytes as written.
pub const STRING_BYTES_MAX: usize = 1 << 20;

/// Most values and keys of a document. A tree of values takes a hundred times the bytes of a hostile text.
pub const VALUES_MAX: usize = 20_000;

/// Whether `json` stays within all limits.
pub fn holds(json: &[u8]) -> bool {
    let (mut depth, mut values, mut string, mut is_escaped) = (0_usize, 1_usize, None, false);
    for byte in json {
        match (string, byte) {
            (Some(length), _) if length > STRING_BYTES_MAX => return false,
            (Some(_), b'"') if !is_escaped => string = None,
            (Some(length), _) => {
                is_escaped = *byte == b'\\' && !is_escaped;
                string = Some(length + 1);
            }
            (None, b'"') => string = Some(0),
            (None, b'[' | b'{') => (depth, values) = (depth + 1, values + 1),
            (None, b']' | b'}') => depth = depth.saturating_sub(1),
            (None, b',' | b':') => values += 1,
            (None, _) => {}
        }
        if depth > DEPTH_MAX || values > VALUES_MAX {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, want: bool) {
        assert_eq!(holds(json.as_bytes()), want, "{:.80}", json);
    }

    #[test]
    fn depth_ends_at_its_limit_and_brackets_in_strings_do_not_count() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        check(&nested(DEPTH_MAX), true);
        check(&nested(DEPTH_MAX + 1), false);
        check(&"{\"a\":".repeat(DEPTH_MAX + 1), false);
        check(&"[]{}".repeat(5_000), true);
        check(&format!("\"{}\"", "[{".repeat(500)), true);
        check(&format!(r#"["\"","\\",{}]"#, nested(DEPTH_MAX - 1)), true);
        check(&format!(r#"["\"","\\",{}]"#, nested(DEPTH_MAX)), false);
    }

    #[test]
    fn strings_end_at_their_limit_and_a_document_may_be_longer() {
        let string = |length: usize| format!("\"{}\"", "x".repeat(length));
        check(&string(STRING_BYTES_MAX), true);
        check(&string(STRING_BYTES_MAX + 1), false);
        check(&format!("[{},{}]", string(STRING_BYTES_MAX), string(STRING_BYTES_MAX)), true);
    }
    #[test]
    fn values_are_counted_outside_of_strings() {
        let array = |count: usize| format!("[{}0]", "0,".repeat(count - 3));
        check(&array(VALUES_MAX), true);
        check(&array(VALUES_MAX + 2), false);
        check(&format!("[{}{{}}]", "{},".repeat(VALUES_MAX / 2)), false);
        check(&format!("\"{}\"", ",".repeat(VALUES_MAX * 2)), true);
    }
}
