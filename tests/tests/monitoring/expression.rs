//! What a PromQL expression asks for: its selectors, and which of their labels it groups by.
//!
//! Not a parser of PromQL: promtool checks syntax and types. What could hide a label from the tests is refused:
//! `label_replace`, and joins with `on` or `ignoring`.

use anyhow::{Context, Result, bail, ensure};

/// Selectors and groupings of an expression.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Expression {
    pub(crate) selectors: Vec<Selector>,
    pub(crate) groupings: Vec<Grouping>,
}

/// `name{label="value"}`
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Selector {
    /// Several where it selects by `__name__=~"a|b"`.
    pub(crate) names: Vec<String>,
    pub(crate) matchers: Vec<Matcher>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    pub(crate) operator: String,
    pub(crate) value: String,
}

impl Matcher {
    /// The values that it names: alternatives of a regular expression by themselves.
    pub(crate) fn values(&self) -> Vec<&str> {
        if self.operator.ends_with('~') { self.value.split('|').collect() } else { vec![&self.value] }
    }
}

/// `by (label, ..)`, and the selectors that it stands over.
#[derive(Debug, PartialEq)]
pub(crate) struct Grouping {
    pub(crate) labels: Vec<String>,
    pub(crate) over: std::ops::Range<usize>,
}

const AGGREGATIONS: [&str; 9] = ["sum", "min", "max", "avg", "count", "group", "topk", "bottomk", "quantile"];
const OPERATORS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];
const REFUSED: [&str; 6] = ["on", "ignoring", "group_left", "group_right", "label_replace", "label_join"];

/// Reads it.
pub(crate) fn read(text: &str) -> Result<Expression> {
    let mut reader = Reader { tokens: tokens(text)?, at: 0, found: Expression::default() };
    reader.all(None).with_context(|| format!("in `{text}`"))?;
    Ok(reader.found)
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number,
    Sign(char),
    /// `=`, `!=`, `=~`, `!~` and those of arithmetic.
    Operator(String),
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    found: Expression,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn takes(&mut self, sign: char) -> bool {
        let is_it = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(is_it);
        is_it
    }

    /// All until a sign, or the end.
    fn all(&mut self, end: Option<char>) -> Result<()> {
        while let Some(token) = self.next() {
            match token {
                Token::Sign(sign) if Some(sign) == end => return Ok(()),
                Token::Sign('(') => self.all(Some(')'))?,
                Token::Sign('[') => self.all(Some(']'))?,
                Token::Sign('{') => {
                    self.at -= 1;
                    self.selector(None)?;
                }
                Token::Word(word) => self.word(word)?,
                Token::Sign(',') | Token::Number | Token::Operator(_) | Token::Text(_) => {}
                Token::Sign(sign) => bail!("`{sign}` closes nothing"),
            }
        }
        ensure!(end.is_none(), "it ends too early");
        Ok(())
    }

    fn word(&mut self, word: String) -> Result<()> {
        ensure!(!REFUSED.contains(&word.as_str()), "`{word}` is not understood here");
        if AGGREGATIONS.contains(&word.as_str()) {
            return self.aggregation();
        }
        match OPERATORS.contains(&word.as_str()) {
            true => Ok(()),
            false if self.takes('(') => self.all(Some(')')),
            false => self.selector(Some(word)),
        }
    }

    fn aggregation(&mut self) -> Result<()> {
        let before = self.grouping()?;
        ensure!(self.takes('('), "an aggregation of nothing");
        let first = self.found.selectors.len();
        self.all(Some(')'))?;
        let over = first..self.found.selectors.len();
        if let Some(labels) = before.or(self.grouping()?) {
            self.found.groupings.push(Grouping { labels, over });
        }
        Ok(())
    }

    fn grouping(&mut self) -> Result<Option<Vec<String>>> {
        if !matches!(self.peek(), Some(Token::Word(word)) if word == "by" || word == "without") {
            return Ok(None);
        }
        self.at += 1;
        ensure!(self.takes('('), "a grouping without labels");
        let mut labels = Vec::new();
        while !self.takes(')') {
            match self.next() {
                Some(Token::Word(label)) => labels.push(label),
                Some(Token::Sign(',')) => {}
                other => bail!("{other:?} among labels"),
            }
        }
        Ok(Some(labels))
    }

    fn selector(&mut self, name: Option<String>) -> Result<()> {
        let mut selector = Selector { names: name.into_iter().collect(), matchers: Vec::new() };
        if self.takes('{') {
            while !self.takes('}') {
                let matcher = match (self.next(), self.next(), self.next()) {
                    (Some(Token::Word(label)), Some(Token::Operator(operator)), Some(Token::Text(value))) => {
                        Matcher { label, operator, value }
                    }
                    other => bail!("{other:?} is no matcher"),
                };
                self.takes(',');
                match matcher.label.as_str() {
                    "__name__" => selector.names.extend(matcher.values().into_iter().map(str::to_owned)),
                    _ => selector.matchers.push(matcher),
                }
            }
        }
        ensure!(!selector.names.is_empty(), "a selector without a name");
        self.found.selectors.push(selector);
        Ok(())
    }
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let is_word = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | ':' | '.');
        let length_of = |is: &dyn Fn(char) -> bool| rest.find(|char| !is(char)).unwrap_or(rest.len());
        let (token, length) = match first {
            '0'..='9' => (Token::Number, length_of(&is_word)),
            _ if is_word(first) => (Token::Word(rest[..length_of(&is_word)].to_owned()), length_of(&is_word)),
            '"' => {
                let end = rest[1..].find('"').context("a text has no end")?;
                ensure!(!rest[1..=end].contains('\\'), "escapes are not understood here");
                (Token::Text(rest[1..=end].to_owned()), end + 2)
            }
            '(' | ')' | '{' | '}' | '[' | ']' | ',' => (Token::Sign(first), 1),
            _ => {
                let length = length_of(&|char| "=!~<>+-*/%^".contains(char));
                ensure!(length > 0, "`{first}` is not understood");
                (Token::Operator(rest[..length].to_owned()), length)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

#[test]
fn selectors_matchers_and_groupings_are_found_wherever_they_stand() {
    let text =
        r#"topk(3, sum by (a, le) (rate(x_total{a="1",b!~"p|q"}[5m]))) / (max(y) without (c)) > 0.5 and z{} == 1"#;
    let found = read(text).unwrap();
    let names: Vec<_> = found.selectors.iter().map(|selector| selector.names.concat()).collect();
    assert_eq!(names, ["x_total", "y", "z"]);
    let matchers: Vec<_> = found.selectors[0].matchers.iter().map(|it| (it.label.as_str(), it.values())).collect();
    assert_eq!(matchers, [("a", vec!["1"]), ("b", vec!["p", "q"])]);
    let groupings: Vec<_> = found.groupings.iter().map(|it| (it.labels.join(" "), it.over.clone())).collect();
    assert_eq!(groupings, [("a le".to_owned(), 0..1), ("c".to_owned(), 1..2)]);
    assert_eq!(read(r#"{__name__=~"m|n",job="j"}"#).unwrap().selectors[0].names, ["m", "n"]);
}

#[test]
fn what_could_hide_a_label_is_refused() {
    let hidden = ["a / on (b) c", "a * ignoring (b) c", "label_replace(a, \"b\", \"c\", \"d\", \"e\")", "{job=\"a\"}"];
    for text in hidden.into_iter().chain(["sum(a", "a)", "a{b=\"c}", "a{b=\"\\\"\"}", "sum by a (b)", "a & b"]) {
        assert!(read(text).is_err(), "{text}");
    }
}
