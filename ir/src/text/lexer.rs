//! Tokens of the text format: what the characters are, not yet what they mean.

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// `%name` or `%"any name"`.
    Value,
    /// `$name`.
    Param,
    /// `@name`.
    At,
    /// A bare word: keyword, operator, attribute, element type; dots and inner hyphens included (`com.microsoft.Gelu`).
    Word,
    /// Anything that starts like a number; whether it is one is for the reader of the token to say. Also `-inf`.
    Number,
    /// `"text"`, escapes still in.
    Str,
    /// One character of punctuation.
    Punct(u8),
    /// `..`
    DotDot,
    /// A character that has no meaning.
    Stray,
    /// A string that does not end on its line.
    OpenString,
    /// End of the text.
    End,
}

/// A piece of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: u32,
    pub(super) end: u32,
    /// Nothing but blanks stands before it on its line.
    pub(super) line_start: bool,
}

/// Splits text into tokens; the last one is [`Kind::End`]. The text must be shorter than 4 GiB.
pub(super) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { bytes: text.as_bytes(), at: 0, line_start: true };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next();
        tokens.push(token);
        if token.kind == Kind::End {
            return tokens;
        }
    }
}

/// True when `name` needs no quotes after `%`, `$` or `@`.
pub(super) fn is_bare_name(name: &str) -> bool {
    !name.is_empty() && name_len(name.as_bytes()) == name.len()
}

/// True when `word` needs no quotes where a word is expected.
pub(super) fn is_bare_word(word: &str) -> bool {
    let starts = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    word.as_bytes().first().copied().is_some_and(starts) && word_len(word.as_bytes()) == word.len()
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Letters, digits, `_`, and dots that are not the start of `..`.
fn name_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    while let Some(&byte) = bytes.get(len) {
        let dot = byte == b'.' && bytes.get(len + 1) != Some(&b'.');
        if !is_word_byte(byte) && !dot {
            break;
        }
        len += 1;
    }
    len
}

/// Letters, digits, `_`, and dots and hyphens between them.
fn word_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    while let Some(&byte) = bytes.get(len) {
        let inner = matches!(byte, b'.' | b'-') && len > 0 && bytes.get(len + 1).copied().is_some_and(is_word_byte);
        if !is_word_byte(byte) && !inner {
            break;
        }
        len += 1;
    }
    len
}

struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    line_start: bool,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn skip_blanks(&mut self) {
        loop {
            match self.peek(0) {
                Some(b'\n') => {
                    self.line_start = true;
                    self.at += 1;
                }
                Some(b' ' | b'\t' | b'\r') => self.at += 1,
                Some(b'/') if self.peek(1) == Some(b'/') => {
                    while !matches!(self.peek(0), None | Some(b'\n')) {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn next(&mut self) -> Token {
        self.skip_blanks();
        let start = self.at;
        let line_start = std::mem::replace(&mut self.line_start, false);
        let kind = self.kind();
        Token { kind, start: start as u32, end: self.at as u32, line_start }
    }

    fn kind(&mut self) -> Kind {
        let Some(byte) = self.peek(0) else { return Kind::End };
        match byte {
            b'%' => self.sigil(Kind::Value),
            b'$' => self.sigil(Kind::Param),
            b'@' => self.sigil(Kind::At),
            b'"' => self.string(Kind::Str),
            b'0'..=b'9' => self.number(),
            b'-' if self.peek(1).is_some_and(|b| b.is_ascii_digit()) => self.number(),
            b'-' if self.bytes[self.at..].starts_with(b"-inf") && !self.peek(4).is_some_and(is_word_byte) => {
                self.at += 4;
                Kind::Number
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                self.at += word_len(&self.bytes[self.at..]);
                Kind::Word
            }
            b'.' if self.peek(1) == Some(b'.') => {
                self.at += 2;
                Kind::DotDot
            }
            b'(' | b')' | b'{' | b'}' | b'[' | b']' | b'<' | b'>' | b',' | b'=' | b':' | b'?' | b'.' | b'+' | b'-'
            | b'*' | b'/' => {
                self.at += 1;
                Kind::Punct(byte)
            }
            _ => {
                // A whole character, so that no token ends inside one.
                self.at += 1;
                while self.peek(0).is_some_and(|b| b & 0xC0 == 0x80) {
                    self.at += 1;
                }
                Kind::Stray
            }
        }
    }

    fn sigil(&mut self, kind: Kind) -> Kind {
        self.at += 1;
        if self.peek(0) == Some(b'"') {
            return self.string(kind);
        }
        let len = name_len(&self.bytes[self.at..]);
        self.at += len;
        if len == 0 { Kind::Stray } else { kind }
    }

    fn string(&mut self, kind: Kind) -> Kind {
        self.at += 1;
        loop {
            match self.peek(0) {
                None | Some(b'\n') => return Kind::OpenString,
                Some(b'"') => {
                    self.at += 1;
                    return kind;
                }
                // Skips an escaped quote; other characters of several bytes need no care.
                Some(b'\\') if matches!(self.peek(1), Some(b'"' | b'\\')) => self.at += 2,
                Some(_) => self.at += 1,
            }
        }
    }

    fn number(&mut self) -> Kind {
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            let next = self.peek(1);
            let point = byte == b'.' && next.is_some_and(|b| b.is_ascii_digit());
            let sign = matches!(byte, b'-' | b'+')
                && matches!(self.bytes[self.at - 1], b'e' | b'E')
                && next.is_some_and(|b| b.is_ascii_digit());
            if !is_word_byte(byte) && !point && !sign {
                break;
            }
            self.at += 1;
        }
        Kind::Number
    }
}

/// The bytes that the inside of a string token stands for, or the place and reason why it stands for none.
///
/// Escapes: `\n`, `\t`, `\r`, `\\`, `\"`, and `\xNN` for any byte.
pub(super) fn unescape(inside: &str) -> Result<Vec<u8>, (usize, &'static str)> {
    let mut bytes = Vec::with_capacity(inside.len());
    let raw = inside.as_bytes();
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        if byte != b'\\' {
            bytes.push(byte);
            at += 1;
            continue;
        }
        let plain = match raw.get(at + 1) {
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'\\') => b'\\',
            Some(b'"') => b'"',
            Some(b'x') => {
                let digit = |i: usize| raw.get(i).and_then(|&b| (b as char).to_digit(16));
                let (Some(high), Some(low)) = (digit(at + 2), digit(at + 3)) else {
                    return Err((at, "\\x needs two hexadecimal digits"));
                };
                at += 2;
                (high * 16 + low) as u8
            }
            _ => return Err((at, "unknown escape; there are \\n \\t \\r \\\\ \\\" and \\xNN")),
        };
        bytes.push(plain);
        at += 2;
    }
    Ok(bytes)
}

/// Writes bytes as the inside of a string: readable where they are UTF-8, `\xNN` where they are not or cannot be seen.
pub(super) fn escape(out: &mut String, bytes: &[u8]) {
    let hex = |out: &mut String, bytes: &[u8]| bytes.iter().for_each(|b| out.push_str(&format!("\\x{b:02x}")));
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                // Characters that cannot be seen or that turn the line around would let a text look like another.
                c if c.is_control()
                    || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}') =>
                {
                    hex(out, c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                c => out.push(c),
            }
        }
        hex(out, chunk.invalid());
    }
}
