//! Choice between the formats of answers by `Accept` (RFC 9110, section 12.5.1).

/// A format of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `application/json`
    #[default]
    Json,
    /// `application/xml`
    Xml,
}

/// Chooses a format by an `Accept` header. The default is JSON, also for a header that accepts neither: an error text
/// in another format helps more than none.
pub fn choose(accept: Option<&str>) -> Format {
    let (json, xml) = (quality(accept, "application/json"), quality(accept, "application/xml"));
    if xml > json { Format::Xml } else { Format::Json }
}

/// Quality of a media type, in thousandths: that of the most specific range that names it.
fn quality(accept: Option<&str>, media_type: &str) -> u16 {
    let Some(accept) = accept else { return 1000 };
    let group = media_type.split('/').next().unwrap_or_default();
    let mut best = (0, 0);
    for item in accept.split(',') {
        let mut parts = item.split(';').map(str::trim);
        let range = parts.next().unwrap_or_default().to_ascii_lowercase();
        let specific = match range.as_str() {
            range if range == media_type => 3,
            // A client that asks for text/xml reads application/xml.
            "text/xml" if media_type == "application/xml" => 3,
            range if range.strip_suffix("/*") == Some(group) => 2,
            "*/*" => 1,
            _ => continue,
        };
        let weight = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
        let weight = weight.and_then(|w| w.parse::<f32>().ok()).filter(|w| (0.0..=1.0).contains(w)).unwrap_or(1.0);
        if specific > best.0 {
            best = (specific, (weight * 1000.0).round() as u16);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_wanted_wins_and_json_breaks_ties() {
        for (accept, expected) in [
            ("application/json", Format::Json),
            ("application/xml", Format::Xml),
            ("text/xml", Format::Xml),
            ("*/*", Format::Json),
            ("application/*", Format::Json),
            ("application/xml;q=0.9, application/json;q=0.8", Format::Xml),
            ("application/xml;q=0.5, */*;q=0.8", Format::Json),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format::Xml),
            ("application/json;q=0, */*", Format::Xml),
            ("text/html", Format::Json),
            ("", Format::Json),
            (";;;,q=,application/xml;q=two", Format::Xml),
        ] {
            assert_eq!(choose(Some(accept)), expected, "{accept}");
        }
        assert_eq!(choose(None), Format::Json);
    }
}
