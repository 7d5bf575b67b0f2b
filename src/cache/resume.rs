//! Judgement of answers to a transfer that began: do their bytes belong behind those that are here? Pure.
//!
//! A part is glued on only under a strong tag, an old date, or a digest that decides at the end. A whole body from another moment is
//! compared with what is here as it comes: equal bytes are the same content, whatever its tags say.

use super::entry::Head;
use crate::fetch::ContentRange;

/// Way in which more bytes are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// Everything, from the start.
    Whole,
    /// A part, if the content is still the one with this tag or date.
    Guarded,
    /// A part, whatever its tag: from another mirror, or without a tag. Its length has to agree, and a digest or the date.
    Loose,
}

/// Facts that an answer is judged by.
#[derive(Debug)]
pub(super) struct Case<'a> {
    /// Head of the content whose bytes are here.
    pub(super) known: &'a Head,
    /// Bytes that are here without a gap.
    pub(super) here: u64,
    pub(super) condition: Condition,
    /// True if a digest of the content is known.
    pub(super) digest: bool,
    pub(super) status: u16,
    pub(super) range: Option<ContentRange>,
    /// Head of the answer.
    pub(super) head: &'a Head,
}

/// Step that follows an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    /// The bytes go behind those here, up to this end.
    Go(u64),
    /// The whole body is compared with what is here, and goes on behind it.
    Compare,
    /// There is nothing more to come: the content has this length.
    Complete(u64),
    /// Another content, of which this is the whole body.
    Replaced,
    /// Another content; its body has to be asked for.
    Changed,
    /// The answer can't be relied on: the next request is for everything.
    Distrusted(&'static str),
    /// No bytes this time.
    Refused,
}

/// Judges an answer.
pub(super) fn judge(case: &Case<'_>) -> NextStep {
    match case.status {
        200 => whole(case),
        206 => part(case),
        416 => match case.range.as_ref().and_then(|range| range.total) {
            Some(total) if total == case.here && case.known.length.is_none_or(|length| length == total) => {
                NextStep::Complete(total)
            }
            Some(_) => NextStep::Changed,
            None => NextStep::Distrusted("it refuses a range and does not say its length"),
        },
        _ => NextStep::Refused,
    }
}

fn whole(case: &Case<'_>) -> NextStep {
    match (case.known.length, case.head.length) {
        (Some(known), Some(told)) if known != told => NextStep::Replaced,
        (None, Some(told)) if told < case.here => NextStep::Replaced,
        _ => NextStep::Compare,
    }
}

fn part(case: &Case<'_>) -> NextStep {
    let Some(ContentRange { part: Some(part), total }) = &case.range else {
        return NextStep::Distrusted("it sends a part and does not say which");
    };
    if case.condition == Condition::Whole || part.start != case.here {
        return NextStep::Distrusted("it sends another part than was asked for");
    }
    let same_total = match (case.known.length, total) {
        (Some(known), Some(told)) => known == *told,
        (Some(known), None) => part.end <= known,
        (None, _) => true,
    };
    if !same_total {
        return NextStep::Changed;
    }
    let (known, told) = (case.known, case.head);
    let same_tag = known.has_strong_tag_of(told);
    let same_date = known.last_modified.is_some() && known.last_modified == told.last_modified;
    let fits = match case.condition {
        Condition::Guarded if known.strong().is_some() => same_tag,
        Condition::Guarded => same_date,
        // One server's tag is its word; another one's may be of the same bytes, which a digest tells, or an old date and the length.
        _ if known.is_from_host_of(told) && known.strong().is_some() && told.strong().is_some() => same_tag,
        _ if case.digest || same_tag => true,
        _ if known.is_from_host_of(told) && known.strong().is_some() => false,
        _ => same_date && known.has_old_date() && known.length.is_some() && *total == known.length,
    };
    if fits { NextStep::Go(part.end) } else { NextStep::Changed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(etag: Option<&str>, modified: Option<&str>, length: Option<u64>) -> Head {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Head { etag: text(etag), last_modified: text(modified), length, ..Head::default() }
    }

    fn range(start: u64, end: u64, total: Option<u64>) -> Option<ContentRange> {
        Some(ContentRange { part: Some(start..end), total })
    }

    fn step(known: &Head, condition: Condition, status: u16, range: Option<ContentRange>, told: &Head) -> NextStep {
        judge(&Case { known, here: 40, condition, digest: false, status, range, head: told })
    }

    #[test]
    fn a_part_is_glued_on_only_under_the_same_strong_tag() {
        let known = head(Some("\"a\""), None, Some(100));
        let guarded = |range, tag| step(&known, Condition::Guarded, 206, range, &head(tag, None, Some(100)));
        assert_eq!(guarded(range(40, 100, Some(100)), Some("\"a\"")), NextStep::Go(100));
        assert_eq!(guarded(range(40, 70, Some(100)), Some("\"a\"")), NextStep::Go(70));
        assert_eq!(guarded(range(40, 70, None), Some("\"a\"")), NextStep::Go(70));
        for tag in [Some("\"b\""), Some("W/\"a\""), None] {
            assert_eq!(guarded(range(40, 100, Some(100)), tag), NextStep::Changed, "{tag:?}");
        }
        assert_eq!(guarded(range(40, 100, Some(101)), Some("\"a\"")), NextStep::Changed);
        for wrong in [range(0, 100, Some(100)), range(41, 100, Some(100)), None] {
            assert!(matches!(guarded(wrong, Some("\"a\"")), NextStep::Distrusted(_)));
        }
        let asked_whole = step(&known, Condition::Whole, 206, range(40, 100, Some(100)), &known);
        assert!(matches!(asked_whole, NextStep::Distrusted(_)));
    }

    #[test]
    fn without_a_tag_the_date_or_a_digest_decides() {
        let known = head(None, Some("monday"), Some(100));
        let part = range(40, 100, Some(100));
        assert_eq!(step(&known, Condition::Guarded, 206, part.clone(), &known), NextStep::Go(100));
        let (day, later) = ("Mon, 02 Nov 2026 10:00:00 GMT", "Mon, 02 Nov 2026 10:00:30 GMT");
        let at = |host: &str, tag: Option<&str>, now: &str| Head {
            url: format!("http://{host}/f"),
            date: Some(now.to_owned()),
            ..head(tag, Some(day), Some(100))
        };
        let first = at("a", Some("\"first\""), "Tue, 03 Nov 2026 10:00:00 GMT");
        let loose = |known: &Head, told: &Head| step(known, Condition::Loose, 206, part.clone(), told);
        let mirror = at("b", Some("\"mirror\""), day);
        assert_eq!(loose(&first, &mirror), NextStep::Go(100), "another one's tags are its own");
        assert_eq!(
            loose(&at("a", Some("\"first\""), later), &mirror),
            NextStep::Changed,
            "a date of just now proves nothing"
        );
        assert_eq!(loose(&first, &at("a", Some("\"first\""), day)), NextStep::Go(100));
        for tag in [Some("\"second\""), None] {
            assert_eq!(loose(&first, &at("a", tag, day)), NextStep::Changed, "its own word counts: {tag:?}");
        }
        let tuesday = head(None, Some("tuesday"), Some(100));
        assert_eq!(step(&known, Condition::Loose, 206, part.clone(), &tuesday), NextStep::Changed);
        let case = Case {
            known: &known,
            here: 40,
            condition: Condition::Loose,
            digest: true,
            status: 206,
            range: part,
            head: &tuesday,
        };
        assert_eq!(judge(&case), NextStep::Go(100));
    }

    #[test]
    fn a_whole_body_is_compared_unless_its_length_tells_already() {
        let known = head(Some("\"a\""), None, Some(100));
        for (length, wanted) in
            [(Some(100), NextStep::Compare), (None, NextStep::Compare), (Some(99), NextStep::Replaced)]
        {
            assert_eq!(step(&known, Condition::Guarded, 200, None, &head(Some("\"b\""), None, length)), wanted);
        }
        let unknown = head(None, None, None);
        assert_eq!(step(&unknown, Condition::Whole, 200, None, &head(None, None, Some(39))), NextStep::Replaced);
        assert_eq!(step(&unknown, Condition::Whole, 200, None, &head(None, None, Some(40))), NextStep::Compare);
    }

    #[test]
    fn a_refused_range_tells_that_all_is_here() {
        let refused = |known: Option<u64>, total: Option<u64>| {
            let range = total.map(|total| ContentRange { part: None, total: Some(total) });
            step(&head(Some("\"a\""), None, known), Condition::Guarded, 416, range, &Head::default())
        };
        assert_eq!(refused(None, Some(40)), NextStep::Complete(40));
        assert_eq!(refused(Some(40), Some(40)), NextStep::Complete(40));
        assert_eq!(refused(Some(100), Some(40)), NextStep::Changed);
        assert_eq!(refused(None, Some(41)), NextStep::Changed);
        assert!(matches!(refused(None, None), NextStep::Distrusted(_)));
        assert_eq!(step(&Head::default(), Condition::Guarded, 503, None, &Head::default()), NextStep::Refused);
    }
}
