//! YAML as the library of LXD and Incus reads it, Go's `yaml.v2`: what they accept, with the values that they see.
//!
//! A library finds the events of the document, and nothing in it is resolved: [`scalar`] has Go's rules about that. Only
//! the first document is read. Knows nothing of images.

mod scalar;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use granit_parser::{Event, Options, Parser, ScalarStyle, Tag, YamlVersion, options};

pub(super) use self::scalar::Scalar;

/// Most nodes of a document.
const NODES_MAX: usize = 50_000;

/// Most nodes that are looked at, with those behind aliases counted each time.
const VISITS_MAX: usize = 200_000;

/// Most bytes of all texts together, with those behind aliases counted each time.
const TEXT_BYTES_MAX: usize = 4 << 20;

/// Most collections within each other. Go's library has 10,000.
const DEPTH_MAX: usize = 255;

/// A node of a document.
#[derive(Debug)]
pub(super) enum Node {
    Scalar(Scalar),
    List(Vec<Rc<Node>>),
    Map(Vec<(Rc<Node>, Rc<Node>)>),
    /// An alias for a node that it is in.
    Within,
}

/// Reasons why a document is refused.
pub(super) type Refusal = String;

/// Reads the first document of a stream; `None` if it has none.
///
/// # Errors
/// It is no YAML, or too much of it.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Rc<Node>>, Refusal> {
    let text = text_of(bytes)?;
    check_directives(&text)?;
    let mut parser = Parser::new_from_str_with_options(&text, parser_options());
    let mut tree = Tree::default();
    while let Some(event) = parser.next_event() {
        let (event, _) = event.map_err(|error| {
            // The parser's own words are for its programmers.
            format!("it is not YAML, at line {}", error.marker().line())
        })?;
        match event {
            Event::DocumentStart(_, Some(version)) if version != YamlVersion::new(1, 1) => {
                return Err(format!(
                    "its version of YAML is {}.{}, and readers know 1.1",
                    version.major, version.minor
                ));
            }
            Event::DocumentEnd => return Ok(tree.done),
            event => tree.event(event)?,
        }
    }
    Ok(None)
}

fn parser_options() -> Options {
    options! { flow_nesting_limit: DEPTH_MAX, block_nesting_limit: DEPTH_MAX }
}

/// The text, whatever its encoding is. Every line ends with a line feed, as in YAML 1.1, which has more ends of lines than 1.2.
fn text_of(bytes: &[u8]) -> Result<String, Refusal> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks();
        let text = char::decode_utf16(pairs.iter().copied().map(unit)).collect::<Result<String, _>>();
        text.ok().filter(|_| rest.is_empty()).ok_or_else(|| "it is not UTF-16".to_owned())
    };
    let text = match bytes {
        [0xff, 0xfe, bytes @ ..] => utf16(bytes, u16::from_le_bytes)?,
        [0xfe, 0xff, bytes @ ..] => utf16(bytes, u16::from_be_bytes)?,
        bytes => std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?.to_owned(),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let stands = |c: char| {
        matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
            && c != '\u{feff}'
    };
    if !text.chars().all(stands) {
        return Err("it has a control character in it".to_owned());
    }
    Ok(text.replace(['\u{85}', '\u{2028}', '\u{2029}'], "\n"))
}

/// Refuses directives that Go's library does not know.
fn check_directives(text: &str) -> Result<(), Refusal> {
    let before = text.lines().take_while(|line| line.trim().is_empty() || line.starts_with(['#', '%']));
    let mut directives = before.filter(|line| line.starts_with('%'));
    match directives.find(|line| !["%YAML", "%TAG"].contains(&line.split([' ', '\t']).next().unwrap_or_default())) {
        Some(_) => Err("it has a directive that is not known".to_owned()),
        None => Ok(()),
    }
}

/// A collection that has not ended.
struct Open {
    anchor: usize,
    nodes: Vec<Rc<Node>>,
    is_map: bool,
}

/// A document on its way from events to nodes.
#[derive(Default)]
struct Tree {
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    nodes: usize,
    done: Option<Rc<Node>>,
}

impl Tree {
    fn event(&mut self, event: Event<'_>) -> Result<(), Refusal> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref().map(tag_of);
                // As for Go's library, `!` alone makes a quoted text one that is resolved.
                let plain = matches!(style, ScalarStyle::Plain) && tag.is_none() || tag.as_deref() == Some("!");
                let tag = tag.filter(|tag| tag != "!");
                self.add(anchor, Rc::new(Node::Scalar(Scalar { text: text.into_owned(), tag, plain })))
            }
            Event::SequenceStart(_, anchor, _) => self.start(anchor, false),
            Event::MappingStart(_, anchor, _) => self.start(anchor, true),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { anchor, nodes, is_map }) = self.open.pop() else { return Ok(()) };
                let node = if is_map {
                    let mut nodes = nodes.into_iter();
                    Node::Map(std::iter::from_fn(|| nodes.next().zip(nodes.next())).collect())
                } else {
                    Node::List(nodes)
                };
                self.add(anchor, Rc::new(node))
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned().unwrap_or_else(|| Rc::new(Node::Within));
                self.add(0, node)
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, anchor: usize, is_map: bool) -> Result<(), Refusal> {
        if self.open.len() >= DEPTH_MAX {
            return Err("it is nested too deep".to_owned());
        }
        self.open.push(Open { anchor, nodes: Vec::new(), is_map });
        Ok(())
    }

    fn add(&mut self, anchor: usize, node: Rc<Node>) -> Result<(), Refusal> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(format!("it has more than {NODES_MAX} values"));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        match self.open.last_mut() {
            Some(open) => open.nodes.push(node),
            None => self.done = Some(node),
        }
        Ok(())
    }
}

/// A tag in its short form: `!!int`, `!own`.
fn tag_of(tag: &Tag) -> String {
    match format!("{}{}", tag.handle(), tag.suffix()) {
        long if long.starts_with("tag:yaml.org,2002:") => long.replace("tag:yaml.org,2002:", "!!"),
        own => own,
    }
}

/// Values out of nodes, by Go's rules: a value of another kind than the wanted one refuses the document, null is the zero of
/// every kind, and of two values for a name the later one counts.
#[derive(Default)]
pub(super) struct Decoder {
    visits: usize,
    text_bytes: usize,
}

impl Decoder {
    /// Counts a look at a node. Aliases make a few nodes look like very many.
    fn visit(&mut self) -> Result<(), Refusal> {
        self.visits += 1;
        if self.visits > VISITS_MAX { Err("its aliases stand for too much".to_owned()) } else { Ok(()) }
    }

    /// Calls `entry` with each name and value of a map, those that are merged into it included.
    pub(super) fn entries(
        &mut self,
        node: &Node,
        entry: &mut dyn FnMut(&mut Self, String, &Node) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.visit()?;
        let Node::Map(pairs) = node else { return Err(wrong(node, "a map")) };
        for (name, value) in pairs {
            if !matches!(&**name, Node::Scalar(name) if name.is_merge()) {
                let name = self.text(name)?;
                entry(self, name, value)?;
                continue;
            }
            let not_map = || "what is merged (<<) has to be a map or a list of maps".to_owned();
            match &**value {
                Node::Map(_) => self.entries(value, entry)?,
                // The first of them counts most, so it comes last.
                Node::List(maps) => {
                    for map in maps.iter().rev() {
                        if !matches!(**map, Node::Map(_)) {
                            return Err(not_map());
                        }
                        self.entries(map, entry)?;
                    }
                }
                Node::Scalar(_) | Node::Within => return Err(not_map()),
            }
        }
        Ok(())
    }

    /// Calls `item` with each item of a list.
    pub(super) fn items(
        &mut self,
        node: &Node,
        item: &mut dyn FnMut(&mut Self, &Node) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.visit()?;
        let Node::List(items) = node else { return Err(wrong(node, "a list")) };
        items.iter().try_for_each(|node| item(self, node))
    }

    /// A text: the spelling of any scalar.
    pub(super) fn text(&mut self, node: &Node) -> Result<String, Refusal> {
        let text = self.scalar(node, "a text")?.text()?;
        self.text_bytes += text.len();
        if self.text_bytes > TEXT_BYTES_MAX { Err("its aliases stand for too much".to_owned()) } else { Ok(text) }
    }

    /// A whole number.
    pub(super) fn integer(&mut self, node: &Node) -> Result<i64, Refusal> {
        self.scalar(node, "a number")?.integer()
    }

    /// A flag.
    pub(super) fn flag(&mut self, node: &Node) -> Result<bool, Refusal> {
        self.scalar(node, "true or false")?.flag()
    }

    /// Texts by their names.
    pub(super) fn texts(&mut self, node: &Node, into: &mut BTreeMap<String, String>) -> Result<(), Refusal> {
        self.entries(node, &mut |decoder, name, value| {
            into.insert(name, decoder.text(value)?);
            Ok(())
        })
    }

    fn scalar<'a>(&mut self, node: &'a Node, wanted: &str) -> Result<&'a Scalar, Refusal> {
        self.visit()?;
        match node {
            Node::Scalar(scalar) => Ok(scalar),
            other => Err(wrong(other, wanted)),
        }
    }
}

impl Node {
    /// Tells whether it is null, and so the zero of whatever is wanted.
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Scalar(scalar) if scalar.is_null())
    }
}

fn wrong(node: &Node, wanted: &str) -> Refusal {
    let is = match node {
        Node::Scalar(Scalar { text, .. }) => format!("'{text}'"),
        Node::List(_) => "a list".to_owned(),
        Node::Map(_) => "a map".to_owned(),
        Node::Within => "an alias for what it is in".to_owned(),
    };
    format!("{is} is not {wanted}")
}
