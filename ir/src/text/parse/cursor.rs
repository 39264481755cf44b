//! The reader: a place in a text, the errors found so far, and the graph that grows. What it reads is in the files beside.

use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, Loc};
use crate::text::blob::BlobSource;
use crate::text::lexer::{Kind, Token, lex, unescape};
use crate::text::parse::Limits;
use crate::text::parse::region::Scopes;
use crate::text::rule::Marks;
use crate::types::Symbol;

/// Proof that an error has been reported: whoever gets one stops and lets the enclosing statement recover.
pub(super) struct Stop;

/// What reading something gives.
pub(super) type Read<T> = Result<T, Stop>;

/// How deep lists, expressions, types, locations and regions may nest, all together.
const MAX_DEPTH: u32 = 100;

pub(super) struct Reader<'a> {
    text: &'a str,
    pub(super) blobs: &'a dyn BlobSource,
    pub(super) graph: Graph,
    pub(super) scopes: Scopes,
    /// What only rules can say of ops, while one is read.
    pub(super) marks: Option<Marks>,
    file: Symbol,
    tokens: Vec<Token>,
    at: usize,
    /// Offsets at which lines start.
    lines: Vec<u32>,
    depth: u32,
    /// Operators of expressions of this statement: they nest too.
    pub(super) chain: u32,
    /// Braces opened that hold no statements: tells the recovery of statements how many to close.
    pub(super) open_braces: u32,
    /// Elements that constants may still draw.
    pub(super) drawn_left: usize,
    errors_left: usize,
    pub(super) limits: Limits,
    /// This text is imported by another.
    pub(super) importing: bool,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, file: &str, blobs: &'a dyn BlobSource, limits: Limits) -> Result<Self, Diagnostic> {
        if u32::try_from(text.len()).is_err() {
            let loc = Loc::Text { file: file.into(), line: 1, column: 1 };
            return Err(
                Diagnostic::error("text-limit", loc, "a text of 4 GiB or more").note("keep large constants as blobs")
            );
        }
        let starts = text.bytes().enumerate().filter(|&(_, b)| b == b'\n').map(|(i, _)| i as u32 + 1);
        Ok(Reader {
            text,
            blobs,
            graph: Graph::new("main"),
            scopes: Scopes::default(),
            marks: None,
            file: file.into(),
            tokens: lex(text),
            at: 0,
            lines: std::iter::once(0).chain(starts).collect(),
            depth: 0,
            chain: 0,
            open_braces: 0,
            drawn_left: limits.drawn,
            errors_left: limits.errors.max(1),
            limits,
            importing: false,
            diagnostics: Vec::new(),
        })
    }

    // -- tokens --------------------------------------------------------------------------------------------------------

    /// The token that comes next.
    pub(super) fn peek(&self) -> Token {
        self.peek_at(0)
    }

    /// The token `ahead` tokens after the next one; the end repeats.
    pub(super) fn peek_at(&self, ahead: usize) -> Token {
        self.tokens.get(self.at + ahead).copied().unwrap_or(self.end())
    }

    /// The token at a position.
    pub(super) fn token_at(&self, position: usize) -> Token {
        self.tokens.get(position).copied().unwrap_or(self.end())
    }

    fn end(&self) -> Token {
        let end = self.text.len() as u32;
        Token { kind: Kind::End, start: end, end, line_start: true }
    }

    /// Takes the next token.
    pub(super) fn bump(&mut self) -> Token {
        let token = self.peek();
        self.at = (self.at + 1).min(self.tokens.len());
        token
    }

    /// Position, to come back to with [`Reader::seek`].
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Goes to a position of before.
    pub(super) fn seek(&mut self, position: usize) {
        self.at = position;
    }

    /// The characters of a token.
    pub(super) fn slice(&self, token: Token) -> &'a str {
        self.text.get(token.start as usize..token.end as usize).unwrap_or("")
    }

    /// True when the next token is this punctuation.
    pub(super) fn is(&self, punct: u8) -> bool {
        self.peek().kind == Kind::Punct(punct)
    }

    /// True when the token `ahead` is this punctuation.
    pub(super) fn is_at(&self, ahead: usize, punct: u8) -> bool {
        self.peek_at(ahead).kind == Kind::Punct(punct)
    }

    /// True when the next token is this word.
    pub(super) fn is_word(&self, word: &str) -> bool {
        let token = self.peek();
        token.kind == Kind::Word && self.slice(token) == word
    }

    /// Takes the next token if it is this punctuation.
    pub(super) fn eat(&mut self, punct: u8) -> bool {
        let found = self.is(punct);
        if found {
            self.bump();
        }
        found
    }

    /// Takes the next token if it is this word.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.bump();
        }
        found
    }

    /// Takes this punctuation, or reports that it is missing.
    pub(super) fn expect(&mut self, punct: u8) -> Read<Token> {
        if self.is(punct) { Ok(self.bump()) } else { Err(self.expected(&format!("`{}`", punct as char))) }
    }

    /// Takes a token of this kind, or reports that `what` is missing.
    pub(super) fn expect_kind(&mut self, kind: Kind, what: &str) -> Read<Token> {
        if self.peek().kind == kind { Ok(self.bump()) } else { Err(self.expected(what)) }
    }

    /// Reads `item`s separated by commas up to `close`, which is taken too; a comma may follow the last.
    pub(super) fn list(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        while !self.eat(close) {
            item(self)?;
            if !self.eat(b',') {
                if !self.is(close) {
                    return Err(self.expected(&format!("`,` or `{}`", close as char)));
                }
                self.bump();
                break;
            }
        }
        Ok(())
    }

    /// One level deeper, up to [`Reader::leave`]. After an error the enclosing statement sets the depth back.
    pub(super) fn enter(&mut self) -> Read<()> {
        if self.depth >= MAX_DEPTH {
            return Err(self.error(self.peek(), "text-limit", format!("nested more than {MAX_DEPTH} levels deep")));
        }
        self.depth += 1;
        Ok(())
    }

    /// Back from [`Reader::enter`].
    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// What recovery sets back: depth and open braces.
    pub(super) fn nesting(&self) -> (u32, u32) {
        (self.depth, self.open_braces)
    }

    /// Sets back what [`Reader::nesting`] told.
    pub(super) fn set_nesting(&mut self, (depth, open_braces): (u32, u32)) {
        (self.depth, self.open_braces) = (depth, open_braces);
        self.chain = 0;
    }

    // -- texts and names -----------------------------------------------------------------------------------------------

    /// The name that a token with a sigil, a word or a string token spells.
    pub(super) fn name(&mut self, token: Token) -> Read<Symbol> {
        let slice = self.slice(token);
        let bare = match token.kind {
            Kind::Value | Kind::Param | Kind::At => slice.get(1..).unwrap_or(""),
            _ => slice,
        };
        if !bare.starts_with('"') {
            return Ok(bare.into());
        }
        let bytes = self.string(token)?;
        match std::str::from_utf8(&bytes) {
            Ok(name) => Ok(name.into()),
            Err(_) => Err(self.error(token, "text-escape", "a name must be UTF-8".into())),
        }
    }

    /// The bytes of a string token, or of the quoted part of a name.
    pub(super) fn string(&mut self, token: Token) -> Read<Vec<u8>> {
        let slice = self.slice(token);
        let open = slice.find('"').map_or(0, |i| i + 1);
        let inside = slice.get(open..slice.len().saturating_sub(1)).unwrap_or("");
        unescape(inside).map_err(|(offset, why)| {
            let start = token.start + (open + offset) as u32;
            self.error(Token { start, ..token }, "text-escape", why.into())
        })
    }

    /// A word or a quoted string, as a name.
    pub(super) fn word_or_string(&mut self, what: &str) -> Read<Symbol> {
        match self.peek().kind {
            Kind::Word | Kind::Str => {
                let token = self.bump();
                self.name(token)
            }
            _ => Err(self.expected(what)),
        }
    }

    /// An integer that fits `T`.
    pub(super) fn int<T: TryFrom<i128>>(&mut self, what: &str) -> Read<T> {
        let token = self.expect_kind(Kind::Number, what)?;
        self.int_of(token, what)
    }

    /// A number token as an integer that fits `T`.
    pub(super) fn int_of<T: TryFrom<i128>>(&mut self, token: Token, what: &str) -> Read<T> {
        let slice = self.slice(token);
        let value = slice.parse::<i128>().ok().and_then(|n| T::try_from(n).ok());
        value.ok_or_else(|| self.error(token, "text-number", format!("{slice} cannot be {what}")))
    }

    // -- errors --------------------------------------------------------------------------------------------------------

    /// Where a token stands.
    pub(super) fn loc(&self, token: Token) -> Loc {
        let line = self.lines.partition_point(|&start| start <= token.start);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0) as usize;
        let before = self.text.get(start..token.start as usize).unwrap_or("");
        let column = before.chars().count() as u32 + 1;
        Loc::Text { file: self.file.clone(), line: line as u32, column }
    }

    /// The text before a token.
    pub(super) fn text_before(&self, token: Token) -> &'a str {
        self.text.get(..token.start as usize).unwrap_or("")
    }

    /// True when the token is the first of its line and no blank stands before it.
    pub(super) fn at_margin(&self, token: Token) -> bool {
        self.lines.binary_search(&token.start).is_ok()
    }

    /// Reports an error at a token.
    pub(super) fn error(&mut self, token: Token, code: &'static str, message: String) -> Stop {
        self.report(Diagnostic::error(code, self.loc(token), message))
    }

    /// Reports an error.
    pub(super) fn report(&mut self, diagnostic: Diagnostic) -> Stop {
        if self.errors_left > 0 {
            self.errors_left -= 1;
            self.diagnostics.push(diagnostic);
            if self.errors_left == 0 {
                let loc = self.loc(self.peek());
                self.diagnostics.push(Diagnostic::error("text-limit", loc, "too many errors; the rest was not read"));
                self.at = self.tokens.len();
            }
        }
        Stop
    }

    /// Reports that something else than the next token was expected; where the line ends before it, at the end of the line.
    pub(super) fn expected(&mut self, what: &str) -> Stop {
        let token = self.peek();
        if token.line_start && self.at > 0 {
            let end = self.token_at(self.at - 1).end;
            let message = format!("expected {what}, found the end of the line");
            return self.error(Token { start: end, end, ..token }, "text-syntax", message);
        }
        self.unexpected(what)
    }

    /// Reports that the next token is not what was expected.
    pub(super) fn unexpected(&mut self, what: &str) -> Stop {
        let token = self.peek();
        let found = match token.kind {
            Kind::End => "the end of the text".to_owned(),
            Kind::Stray => "a character that has no meaning here".to_owned(),
            Kind::OpenString => "a string that does not end on its line".to_owned(),
            _ => format!("`{}`", self.slice(token).chars().take(40).collect::<String>()),
        };
        self.error(token, "text-syntax", format!("expected {what}, found {found}"))
    }
}
