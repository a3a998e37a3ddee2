//! JSON values that are well-formed and strange, and texts that are no JSON.

/// Well-formed by the grammar, though some mean nothing: lone surrogates, numbers without end, depth without end.
pub fn whole() -> Vec<String> {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let mut values: Vec<String> = [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-1",
        "1.5",
        "1.0",
        "5e-324",
        "1e308",
        "1e400",
        "-1e400",
        "1E+2",
        "0.1e-400",
        "2147483648",
        "4294967296",
        "9007199254740993",
        "-9223372036854775808",
        "9223372036854775807",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999999",
        "\"\"",
        "\" \"",
        "\"9\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\\uD83D\\uDE00\"",
        "\"\\ufeff\"",
        "\"\\u202e\"",
        "\"\\/\\b\\f\\n\\r\\t\"",
        "[]",
        "[null]",
        "[1,\"a\",{},[]]",
        "{}",
        "{\"a\":1}",
        "{\"a\":1,\"a\":2}",
        "{\"\":0}",
        "{\"id\":1,\"id\":\"x\"}",
        "{\"__proto__\":{}}",
        "{\"id\":null,\"type\":null}",
    ]
    .map(String::from)
    .into();
    values.extend([63, 64, 65, 100].map(nested));
    values.extend([63, 65, 100].map(objects));
    values.push(format!("[{}0]", "0,".repeat(20_000)));
    values.push(format!("{{{}\"z\":0}}", "\"k\":0,".repeat(5_000)));
    values.push(format!("\"{}\"", "\\\"".repeat(20_000)));
    // A hundred thousand levels, a million elements, a megabyte.
    values.push(nested(100_000));
    values.push(format!("[{}0]", "0,".repeat(1_000_000)));
    values.push(format!("\"{}\"", "x".repeat((1 << 20) + 1)));
    values
}

/// No JSON at all.
pub fn broken() -> Vec<String> {
    [
        "",
        " ",
        "nul",
        "True",
        "NaN",
        "Infinity",
        "-",
        "+1",
        ".5",
        "5.",
        "01",
        "0x10",
        "1_000",
        "1e",
        "\"",
        "\"\\x41\"",
        "\"\\u12\"",
        "\"a\nb\"",
        "'a'",
        "[",
        "]",
        "[1,]",
        "[1 2]",
        "{",
        "}",
        "{a:1}",
        "{'a':1}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":1}{",
        "{\"a\":1} x",
        "// a comment",
        "/* */ {}",
        "\u{feff}{}",
        "\0",
        "<html><body>502</body></html>",
        "<?xml version=\"1.0\"?>",
        "data: {\"choices\":[]}\n\n",
        "HTTP/1.1 200 OK\r\n\r\n{}",
        "--boundary\r\n",
        "\u{1f}\u{8b}\u{8}",
    ]
    .map(String::from)
    .into()
}
