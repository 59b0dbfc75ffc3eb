//! Tokens of a zone file (RFC 1035 5.1).
//!
//! An entry is a line, or more where parentheses join them. A token is a slice of the file, so that reading one
//! allocates nothing; escapes in it are resolved by whoever knows what it means.

use std::fmt;

use crate::fault::{Fault, excerpt};

/// A word or a quoted string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    /// What is written, escapes as they are, without the quotes.
    pub(crate) raw: &'a [u8],
    /// Whether it stands in quotes.
    pub(crate) quoted: bool,
    /// Where it begins.
    pub(crate) place: Place,
}

/// A place in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    line: u32,
    offset: usize,
}

/// Reads entries, and in an entry tokens.
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
    /// How many parentheses are open, and where the outermost of them is.
    depth: usize,
    opened: Place,
    /// Where the entry ended, if it has.
    ended: Option<Place>,
    /// The line and column to blame for everything, if the text was made from another.
    made_at: Option<(u32, u32)>,
    /// Whether nobody reads what faults say.
    is_skipping: bool,
}

/// What a byte does to a word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Is part of it.
    Plain,
    /// Ends it.
    Ends,
    /// Takes the next character into it.
    Escape,
    /// Has no place in a file of text.
    Control,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut at = 0;
    while at < 0x20 {
        classes[at] = Class::Control;
        at += 1;
    }
    classes[0x7f] = Class::Control;
    let ends = *b" \t\r\n;()\"";
    at = 0;
    while at < ends.len() {
        // An index into a constant: nothing but `as` is const here, and it widens.
        #[expect(clippy::as_conversions, reason = "u8 to usize, in a constant")]
        {
            classes[ends[at] as usize] = Class::Ends;
        }
        at += 1;
    }
    classes[0x5c] = Class::Escape;
    classes
};

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Lexer<'a> {
        let start = Place { line: 1, offset: 0 };
        Lexer {
            text,
            at: 0,
            line: 1,
            depth: 0,
            opened: start,
            ended: None,
            made_at: None,
            is_skipping: false,
        }
    }

    /// Text that was made from something at `line` and `column`, which faults are to name.
    pub(crate) fn made(text: &'a [u8], line: u32, column: u32) -> Lexer<'a> {
        Lexer { made_at: Some((line, column)), ..Lexer::new(text) }
    }

    /// Goes to the next entry. Says whether it begins with blank space; none at the end of the file.
    pub(crate) fn begin_entry(&mut self) -> Option<bool> {
        self.ended = None;
        self.depth = 0;
        self.text.get(self.at).map(|byte| matches!(byte, b' ' | b'\t'))
    }

    /// The next token of the entry; none at its end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Token<'a>>, Fault> {
        self.token(false)
    }

    /// Like [`Lexer::next`], but a quote behind a `=` in a word does not end the word (RFC 9460 2.1).
    pub(crate) fn next_pair(&mut self) -> Result<Option<Token<'a>>, Fault> {
        self.token(true)
    }

    /// The next token, which is no quoted string; `expected` says what it is.
    #[inline]
    pub(crate) fn word(&mut self, expected: &str) -> Result<Token<'a>, Fault> {
        match self.token(false)? {
            Some(token) if !token.quoted => Ok(token),
            Some(token) => Err(self.unexpected(&token, expected)),
            None => Err(self.missing(expected)),
        }
    }

    /// Takes the next token if it is `word`.
    pub(crate) fn next_if(&mut self, word: &[u8]) -> Result<bool, Fault> {
        let mark = self.mark();
        let is_word = self.next()?.is_some_and(|token| !token.quoted && token.raw == word);
        if !is_word {
            self.go_back(mark);
        }
        Ok(is_word)
    }

    /// Takes the sign of the generic form, if that is next (RFC 3597 5).
    #[inline]
    pub(crate) fn take_generic(&mut self) -> Result<Option<Token<'a>>, Fault> {
        // Nearly always there is something else, and one look says so.
        let next = self.text[self.at..].iter().find(|byte| !matches!(byte, b' ' | b'\t'));
        if !matches!(next, Some(b'\\' | b'(' | b';' | b'\r' | b'\n')) {
            return Ok(None);
        }
        let mark = self.mark();
        let token = self.next()?.filter(|token| !token.quoted && token.raw == b"\\#");
        if token.is_none() {
            self.go_back(mark);
        }
        Ok(token)
    }

    /// Where reading stands.
    fn mark(&self) -> (usize, u32, usize, Place, Option<Place>) {
        (self.at, self.line, self.depth, self.opened, self.ended)
    }

    fn go_back(&mut self, mark: (usize, u32, usize, Place, Option<Place>)) {
        (self.at, self.line, self.depth, self.opened, self.ended) = mark;
    }

    /// Leaves what remains of the entry, whatever it is.
    pub(crate) fn skip_entry(&mut self) {
        self.is_skipping = true;
        // Every call goes on by one byte at least, or says that the entry has ended.
        while !matches!(self.next(), Ok(None)) {}
        self.is_skipping = false;
    }

    fn token(&mut self, pairs: bool) -> Result<Option<Token<'a>>, Fault> {
        if self.ended.is_some() {
            return Ok(None);
        }
        loop {
            let place = self.here();
            let Some(&byte) = self.text.get(self.at) else {
                self.ended = Some(place);
                if self.depth > 0 {
                    let text = format_args!("this parenthesis is not closed in the rest of the file");
                    return Err(self.broken(self.opened, text));
                }
                return Ok(None);
            };
            match byte {
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                    if self.depth == 0 {
                        self.ended = Some(place);
                        return Ok(None);
                    }
                }
                b';' => {
                    let rest = &self.text[self.at..];
                    self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                }
                b'(' => {
                    self.at += 1;
                    self.depth += 1;
                    if self.depth == 1 {
                        self.opened = place;
                    }
                }
                b')' => {
                    self.at += 1;
                    let Some(depth) = self.depth.checked_sub(1) else {
                        return Err(self.broken(place, format_args!("this parenthesis was not opened")));
                    };
                    self.depth = depth;
                }
                b'"' => return self.quoted(place).map(Some),
                _ => return self.scan_word(place, pairs).map(Some),
            }
        }
    }

    /// The word that begins here.
    fn scan_word(&mut self, place: Place, pairs: bool) -> Result<Token<'a>, Fault> {
        loop {
            let rest = &self.text[self.at..];
            let plain = rest
                .iter()
                .position(|byte| CLASSES[usize::from(*byte)] != Class::Plain)
                .unwrap_or(rest.len());
            self.at += plain;
            let class = rest.get(plain).map_or(Class::Ends, |byte| CLASSES[usize::from(*byte)]);
            match class {
                Class::Escape => match rest.get(plain + 1) {
                    None | Some(b'\n' | b'\r') => {
                        let place = self.here();
                        self.at += 1;
                        let text = "a backslash is followed by the character that it stands before, or by three digits";
                        return Err(self.broken(place, format_args!("{text}")));
                    }
                    Some(_) => self.at += 2,
                },
                Class::Control => {
                    let place = self.here();
                    self.at += 1;
                    let byte = rest[plain];
                    let text = "a control byte; a zone file is text, in which it is written";
                    return Err(self.broken(place, format_args!("{text} \\{byte:03}")));
                }
                Class::Plain | Class::Ends => {
                    let quote =
                        rest.get(plain) == Some(&b'"') && self.text[place.offset..self.at].ends_with(b"=");
                    if pairs && quote {
                        self.quoted(self.here())?;
                    }
                    let raw = &self.text[place.offset..self.at];
                    return Ok(Token { raw, quoted: false, place });
                }
            }
        }
    }

    /// The string whose first quote is here.
    fn quoted(&mut self, place: Place) -> Result<Token<'a>, Fault> {
        self.at += 1;
        let begin = self.at;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => {
                    let raw = &self.text[begin..self.at];
                    self.at += 1;
                    return Ok(Token { raw, quoted: true, place });
                }
                // What is behind the backslash may be the end of the line, too.
                Some(b'\\') if !matches!(self.text.get(self.at + 1), None | Some(b'\n')) => self.at += 2,
                None | Some(b'\n') => {
                    let text = format_args!("this quoted string does not end in its line");
                    return Err(self.broken(place, text));
                }
                Some(_) => self.at += 1,
            }
        }
    }

    /// Where reading goes on.
    pub(crate) fn here(&self) -> Place {
        Place { line: self.line, offset: self.at }
    }

    /// Where the first character that is no blank stands, from `place` on.
    pub(crate) fn first_behind(&self, place: Place) -> Place {
        let rest = &self.text[place.offset..];
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        Place { offset: place.offset + blanks, ..place }
    }

    /// The line that is read.
    pub(crate) fn line(&self) -> u32 {
        self.made_at.map_or(self.line, |(line, _)| line)
    }

    /// The line and column of `place`.
    pub(crate) fn line_and_column(&self, place: Place) -> (u32, u32) {
        if let Some(made_at) = self.made_at {
            return made_at;
        }
        let before = &self.text[..place.offset];
        let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        // Characters, not bytes: those that continue a character of UTF-8 do not count.
        let characters = before[begin..].iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        (place.line, u32::try_from(characters).map_or(u32::MAX, |column| column.saturating_add(1)))
    }

    /// A fault at `place`.
    pub(crate) fn fault(&self, place: Place, text: String) -> Fault {
        let (line, column) = self.line_and_column(place);
        Fault::new(line, column, text)
    }

    /// A fault that makes it impossible to say what the next token is.
    fn broken(&self, place: Place, text: fmt::Arguments<'_>) -> Fault {
        // To find the column takes as long as the line is, and a line may have a fault at each of its bytes.
        if self.is_skipping {
            return Fault::new(0, 0, String::new());
        }
        self.fault(place, text.to_string())
    }

    /// A fault: `token` is not `expected`.
    pub(crate) fn unexpected(&self, token: &Token<'_>, expected: &str) -> Fault {
        let quoted = if token.quoted { "the quoted string " } else { "" };
        self.fault(token.place, format!("{quoted}{} is not {expected}", excerpt(token.raw)))
    }

    /// A fault: there is nothing where `expected` should be.
    pub(crate) fn missing(&self, expected: &str) -> Fault {
        let place = self.ended.unwrap_or(self.here());
        self.fault(place, format!("the record ends here; expected {expected}"))
    }

    /// A fault: `token` is one too many.
    pub(crate) fn surplus(&self, token: &Token<'_>) -> Fault {
        let open = match self.depth {
            0 => String::new(),
            _ => format!("; the parenthesis of line {} is still open", self.line_and_column(self.opened).0),
        };
        self.fault(
            token.place,
            format!("{} is one too many; expected the end of the record{open}", excerpt(token.raw)),
        )
    }
}
