//! A strict reader of Prometheus' text format 0.0.4, our own: it refuses what a lenient one would pass over. Nothing may be
//! there twice, or in pieces; histograms must add up.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// What a text says.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    /// By metric: its kind and its help.
    pub metrics: BTreeMap<String, (String, String)>,
    pub samples: Vec<Sample>,
}

impl Exposition {
    /// The samples of a metric, those of a histogram included.
    pub fn of(&self, metric: &str) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| base_name(&sample.name, &self.metrics) == metric)
    }

    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, word)| sample.labels.get(*label).is_some_and(|known| known == word))
        };
        self.samples.iter().find(fits).map(|sample| sample.value)
    }
}

/// `Err`: the first line that breaks a rule, and which one.
pub fn parse(text: &str) -> Result<Exposition, String> {
    let mut found = Exposition::default();
    let mut seen = BTreeSet::new();
    let mut done = BTreeSet::new();
    let mut current = String::new();
    if !text.ends_with('\n') {
        return Err("the last line is not ended".to_owned());
    }
    for line in text.lines() {
        let wrong = |what: &str| format!("{what}: {line}");
        if let Some(comment) = line.strip_prefix("# ") {
            let (kind, rest) = comment.split_once(' ').ok_or(wrong("neither HELP nor TYPE"))?;
            let (name, said) = rest.split_once(' ').ok_or(wrong("nothing said"))?;
            match kind {
                "HELP" => {
                    if !is_name(name) || !done.insert(name.to_owned()) {
                        return Err(wrong("a bad name, or a metric in pieces"));
                    }
                    unescape(said, "\\n").ok_or(wrong("a bad escape"))?;
                    name.clone_into(&mut current);
                    found.metrics.insert(name.to_owned(), (String::new(), said.to_owned()));
                }
                "TYPE" => {
                    let is_kind = ["counter", "gauge", "histogram"].contains(&said);
                    let entry = found.metrics.get_mut(name).filter(|(kind, _)| kind.is_empty() && name == current);
                    let entry = entry.filter(|_| is_kind).ok_or(wrong("a bad or repeated type"))?;
                    said.clone_into(&mut entry.0);
                }
                _ => return Err(wrong("neither HELP nor TYPE")),
            }
            continue;
        }
        let sample = sample(line).ok_or(wrong("not a sample"))?;
        if base_name(&sample.name, &found.metrics) != current {
            return Err(wrong("a sample outside of its metric"));
        }
        let kind = found.metrics[&current].0.as_str();
        if kind.is_empty() || kind == "histogram" && sample.name == current {
            return Err(wrong("a sample without a type, or a histogram without an ending"));
        }
        if kind != "gauge" && (sample.value < 0.0 || sample.value.is_nan()) {
            return Err(wrong("a count below zero"));
        }
        if !seen.insert((sample.name.clone(), sample.labels.clone())) {
            return Err(wrong("twice"));
        }
        found.samples.push(sample);
    }
    let histograms = found.metrics.iter().filter(|(_, (kind, _))| kind == "histogram");
    histograms.map(|(name, _)| adds_up(&found, name)).collect::<Result<Vec<()>, String>>()?;
    Ok(found)
}

/// The metric that a sample belongs to.
fn base_name<'a>(name: &'a str, metrics: &BTreeMap<String, (String, String)>) -> &'a str {
    let cut = ["_bucket", "_sum", "_count"].iter().find_map(|ending| name.strip_suffix(ending));
    cut.filter(|cut| metrics.get(*cut).is_some_and(|(kind, _)| kind == "histogram")).unwrap_or(name)
}

fn is_name(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// `known`: the letters that may stand behind a backslash.
fn unescape(text: &str, known: &str) -> Option<String> {
    let (mut plain, mut rest) = (String::new(), text.chars());
    while let Some(c) = rest.next() {
        plain.push(match c {
            '\\' => match rest.next().filter(|next| known.contains(*next))? {
                'n' => '\n',
                other => other,
            },
            '"' if known.contains('"') => return None,
            other => other,
        });
    }
    Some(plain)
}

fn sample(line: &str) -> Option<Sample> {
    let (before, value) = line.rsplit_once(' ')?;
    let plain = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let value = value.parse().ok().filter(|_| plain)?;
    let Some((name, rest)) = before.split_once('{') else {
        return is_name(before).then(|| Sample { name: before.to_owned(), labels: BTreeMap::new(), value });
    };
    let mut rest = rest.strip_suffix('}')?;
    let mut labels = BTreeMap::new();
    loop {
        let (label, behind) = rest.split_once("=\"")?;
        let mut is_escaped = false;
        let end = behind.char_indices().find(|(_, c)| {
            let is_end = *c == '"' && !is_escaped;
            is_escaped = *c == '\\' && !is_escaped;
            is_end
        });
        let (word, behind) = behind.split_at(end?.0);
        let is_new = is_name(label) && labels.insert(label.to_owned(), unescape(word, "\\n\"")?).is_none();
        rest = &behind[1..];
        if !is_new {
            return None;
        }
        if rest.is_empty() {
            return is_name(name).then(|| Sample { name: name.to_owned(), labels, value });
        }
        rest = rest.strip_prefix(',')?;
    }
}

/// Bounds and counts only rise, the last bound is infinite and counts all.
fn adds_up(found: &Exposition, metric: &str) -> Result<(), String> {
    let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
    for bucket in found.of(metric).filter(|sample| sample.name.ends_with("_bucket")) {
        let mut labels = bucket.labels.clone();
        let bound = labels.remove("le").and_then(|bound| bound.parse().ok()).ok_or(format!("{metric}: no bound"))?;
        series.entry(labels).or_default().push((bound, bucket.value));
    }
    for (labels, buckets) in &series {
        let exact = |ending: &str| {
            let name = format!("{metric}{ending}");
            found.samples.iter().find(|sample| sample.name == name && sample.labels == *labels)
        };
        let rises = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        let last = buckets.last().filter(|(bound, _)| bound.is_infinite()).map(|(_, count)| *count);
        if !rises || last.is_none() || exact("_count").map(|sample| sample.value) != last || exact("_sum").is_none() {
            return Err(format!("{metric}: does not add up: {labels:?} {buckets:?}"));
        }
    }
    let others = found.of(metric).filter(|sample| !sample.name.ends_with("_bucket"));
    let lonely = others.into_iter().find(|sample| !series.contains_key(&sample.labels));
    lonely.map_or(Ok(()), |sample| Err(format!("{metric}: a sum or count without bounds: {sample:?}")))
}

const GOOD: &str = "# HELP a_total It\\\\s \"help\".\n# TYPE a_total counter\na_total{x=\"1\\\"\\n\\\\,}\",y=\"\"} 1\na_total{x=\"2\"} 0.5\n\
                    # HELP h Help.\n# TYPE h histogram\nh_bucket{le=\"0.1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 7\nh_count 2\n";

#[test]
fn the_reader_of_expositions_reads_what_is_right() {
    let found = parse(GOOD).expect("it is right");
    assert_eq!(found.samples[0].labels["x"], "1\"\n\\,}");
    assert_eq!((found.value("h_sum", &[]), found.of("h").count(), found.of("a_total").count()), (Some(7.0), 4, 2));
}

#[test]
fn the_reader_of_expositions_refuses_what_is_wrong() {
    for (right, wrong) in [
        ("x=\"2\"", "x=\"1\\\"\\n\\\\,}\",y=\"\""),
        ("x=\"2\"", "x=\"2\",x=\"3\""),
        ("x=\"2\"", "x=\"\\2\""),
        ("x=\"2\"", "x=\"2"),
        ("x=\"2\"", "1x=\"2\""),
        ("x=\"2\"}", "x=\"2\",}"),
        ("} 0.5", "} -1"),
        ("} 0.5", "} NaN"),
        ("} 0.5", "}  0.5"),
        ("} 0.5", "} 0.5 123"),
        ("# TYPE a_total counter\n", ""),
        ("# TYPE a_total counter\n", "# TYPE a_total counter\n# TYPE a_total counter\n"),
        ("a_total counter", "a_total untyped"),
        ("# HELP h", "# Help h"),
        ("# HELP h Help.", "# HELP a_total Help."),
        ("h_sum 7\n", ""),
        ("h_sum 7\n", "h_sum 7\nh 7\n"),
        ("h_count 2\n", "h_count 3\n"),
        ("h_count 2\n", "h_count 2\n\n"),
        ("h_count 2\n", "h_count 2\na_total 3\n"),
        ("h_count 2\n", "h_count 2"),
        ("le=\"+Inf\"", "le=\"1\""),
        ("le=\"0.1\"} 1", "le=\"0.1\"} 3"),
    ] {
        assert!(GOOD.contains(right), "{right}");
        let text = GOOD.replacen(right, wrong, 1);
        assert!(parse(&text).is_err(), "{right:?} -> {wrong:?} was not noticed");
    }
}
