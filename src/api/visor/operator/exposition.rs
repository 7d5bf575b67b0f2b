//! Families of metrics, and the two texts that monitoring systems read: Prometheus' text format 0.0.4, and OpenMetrics 1.0. Knows
//! no metric.
//!
//! Own, because the libraries for this keep counters of their own: ours are kept where they are counted.

use std::fmt::Write as _;

/// Type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricType {
    /// It only grows while the server runs.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A count and a sum.
    Summary,
}

/// A value, with its labels and a suffix of its family's name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    suffix: &'static str,
    labels: Vec<(&'static str, String)>,
    value: f64,
}

impl Sample {
    /// A value.
    pub(super) fn of(value: u64) -> Self {
        Self { suffix: "", labels: Vec::new(), value: value as f64 }
    }

    /// Adds a label.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.labels.push((name, value.into()));
        self
    }
}

/// A metric, with all its values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Family {
    /// Name. That of a counter ends in `_total`.
    pub(super) name: &'static str,
    kind: MetricType,
    help: &'static str,
    samples: Vec<Sample>,
}

impl Family {
    /// A counter.
    pub(super) fn counter(name: &'static str, help: &'static str, samples: impl IntoIterator<Item = Sample>) -> Self {
        Self { name, kind: MetricType::Counter, help, samples: samples.into_iter().collect() }
    }

    /// A gauge.
    pub(super) fn gauge(name: &'static str, help: &'static str, samples: impl IntoIterator<Item = Sample>) -> Self {
        Self { name, kind: MetricType::Gauge, help, samples: samples.into_iter().collect() }
    }

    /// A count, and the sum of what was counted.
    pub(super) fn summary(name: &'static str, help: &'static str, count: u64, sum: f64) -> Self {
        let sample = |suffix, value| Sample { suffix, labels: Vec::new(), value };
        Self {
            name,
            kind: MetricType::Summary,
            help,
            samples: vec![sample("_count", count as f64), sample("_sum", sum)],
        }
    }
}

/// Form of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exposition {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0: a counter is named without its suffix, and the end is marked.
    OpenMetrics,
}

impl Exposition {
    /// Chooses by an `Accept` header: OpenMetrics only where it is asked for.
    pub(super) fn choose(accept: Option<&str>) -> Self {
        let mut ranges = accept.unwrap_or_default().split(',').map(|range| range.split(';').map(str::trim));
        let asked = ranges.any(|mut range| {
            let named = range.next().is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
            named && range.all(|parameter| !["q=0", "q=0.0", "q=0.00", "q=0.000"].contains(&parameter))
        });
        if asked { Self::OpenMetrics } else { Self::Text }
    }

    /// `Content-Type` of the text.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Writes families.
    pub(super) fn write(self, families: &[Family]) -> String {
        let mut text = String::new();
        for family in families {
            let (kind, titled) = match family.kind {
                MetricType::Counter if self == Self::OpenMetrics => ("counter", family.name.trim_end_matches("_total")),
                MetricType::Counter => ("counter", family.name),
                MetricType::Gauge => ("gauge", family.name),
                MetricType::Summary => ("summary", family.name),
            };
            // Writing to a string does not fail.
            let _ = writeln!(text, "# HELP {titled} {}\n# TYPE {titled} {kind}", family.help);
            for sample in &family.samples {
                let _ = writeln!(text, "{}{}{} {}", family.name, sample.suffix, labels(&sample.labels), sample.value);
            }
        }
        if self == Self::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }
}

fn labels(labels: &[(&'static str, String)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let each = labels.iter().map(|(name, value)| {
        let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
        format!("{name}=\"{value}\"")
    });
    format!("{{{}}}", each.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families() -> Vec<Family> {
        vec![
            Family::counter("a_total", "Things.", [Sample::of(3).with("host", "a\"b\\c\nd").with("kind", "x")]),
            Family::gauge("b_bytes", "Bytes.", [Sample::of(1 << 40)]),
            Family::summary("c_seconds", "Time.", 2, 0.25),
            Family::gauge("d", "Nothing.", []),
        ]
    }

    #[test]
    fn the_text_has_a_head_for_each_family_and_escapes_labels() {
        let expected = r#"# HELP a_total Things.
# TYPE a_total counter
a_total{host="a\"b\\c\nd",kind="x"} 3
# HELP b_bytes Bytes.
# TYPE b_bytes gauge
b_bytes 1099511627776
# HELP c_seconds Time.
# TYPE c_seconds summary
c_seconds_count 2
c_seconds_sum 0.25
# HELP d Nothing.
# TYPE d gauge
"#;
        assert_eq!(Exposition::Text.write(&families()), expected);
    }

    #[test]
    fn open_metrics_names_counters_otherwise_and_has_an_end() {
        let text = Exposition::OpenMetrics.write(&families());
        assert!(text.starts_with("# HELP a Things.\n# TYPE a counter\na_total{"), "{text}");
        assert!(text.ends_with("# TYPE d gauge\n# EOF\n"), "{text}");
    }

    #[test]
    fn open_metrics_is_for_those_who_ask() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        for (accept, expected) in [
            (Some(prometheus), Exposition::OpenMetrics),
            (Some("text/plain"), Exposition::Text),
            (Some("*/*"), Exposition::Text),
            (Some("application/openmetrics-text;q=0, text/plain"), Exposition::Text),
            (None, Exposition::Text),
        ] {
            assert_eq!(Exposition::choose(accept), expected, "{accept:?}");
        }
    }
}
