//! The grammar, by recursive descent.

use std::sync::Arc;

use super::ast::{Call, Expr, Id, Kind, List, Literal, MapEntry, Select, Struct, StructField, operator};
use super::lexer::{Token, TokenKind, tokens};
use super::source::Issue;
use super::{DEPTH, Parsed, RESERVED, macros};

const STARTS: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// A syntax error after which nothing more can be said.
pub(super) struct Stop;

type Step<T> = Result<T, Stop>;

pub(super) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    places: Vec<u32>,
    pub(super) issues: Vec<Issue>,
    depth: usize,
}

pub(super) fn parse(text: &str) -> Result<Parsed, Vec<Issue>> {
    let mut issues = Vec::new();
    let tokens = tokens(text, &mut issues);
    let mut parser = Parser { tokens, at: 0, places: Vec::new(), issues, depth: 0 };
    let parsed = parser.whole();
    match parsed {
        Ok(expr) if parser.issues.is_empty() => Ok(Parsed { expr, places: parser.places }),
        _ => Err(parser.issues),
    }
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at]
    }

    fn ahead(&self, count: usize) -> &Token {
        &self.tokens[(self.at + count).min(self.tokens.len() - 1)]
    }

    fn advance(&mut self) -> Token {
        let token = self.tokens[self.at].clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    fn take(&mut self, symbol: &str) -> Option<Token> {
        self.peek().is(symbol).then(|| self.advance())
    }

    /// A new node at a place.
    fn id(&mut self, at: u32) -> Id {
        self.places.push(at);
        (self.places.len() - 1) as Id
    }

    pub(super) fn node(&mut self, at: u32, kind: Kind) -> Expr {
        Expr { id: self.id(at), kind }
    }

    pub(super) fn place(&self, id: Id) -> u32 {
        self.places[id as usize]
    }

    fn call(&mut self, at: u32, function: &str, args: Vec<Expr>) -> Expr {
        self.node(at, Kind::Call(Box::new(Call { target: None, function: function.into(), args })))
    }

    fn wrong<T>(&mut self, message: String) -> Step<T> {
        let at = self.peek().at;
        self.issues.push(Issue::at(at, format!("Syntax error: {message}")));
        Err(Stop)
    }

    fn expect(&mut self, symbol: &str) -> Step<Token> {
        if let Some(token) = self.take(symbol) {
            return Ok(token);
        }
        let found = self.peek().shown();
        if self.ahead(1).is(symbol) {
            return self.wrong(format!("extraneous input {found} expecting '{symbol}'"));
        }
        if self.peek().kind == TokenKind::End {
            return self.wrong(format!("missing '{symbol}' at {found}"));
        }
        self.wrong(format!("mismatched input {found} expecting '{symbol}'"))
    }

    fn whole(&mut self) -> Step<Expr> {
        let expr = self.expr()?;
        if self.peek().kind != TokenKind::End {
            let found = self.peek().shown();
            let word = if self.ahead(1).kind == TokenKind::End && self.simple(0) {
                "extraneous"
            } else {
                "mismatched"
            };
            return self.wrong(format!("{word} input {found} expecting <EOF>"));
        }
        Ok(expr)
    }

    /// A token that is no symbol.
    fn simple(&self, ahead: usize) -> bool {
        !matches!(self.ahead(ahead).kind, TokenKind::Symbol | TokenKind::End)
    }

    fn deeper(&mut self) -> Step<()> {
        self.depth += 1;
        if self.depth > DEPTH {
            let message = format!("expression recursion limit exceeded: {DEPTH}");
            self.issues = vec![Issue { at: None, message }];
            return Err(Stop);
        }
        Ok(())
    }

    pub(super) fn expr(&mut self) -> Step<Expr> {
        self.deeper()?;
        let condition = self.logical(operator::OR)?;
        let out = match self.take("?") {
            None => condition,
            Some(mark) => {
                let id = self.id(mark.at);
                let yes = self.logical(operator::OR)?;
                self.expect(":")?;
                let no = self.expr()?;
                let args = vec![condition, yes, no];
                let call = Call { target: None, function: operator::CONDITIONAL.into(), args };
                Expr { id, kind: Kind::Call(Box::new(call)) }
            }
        };
        self.depth -= 1;
        Ok(out)
    }

    /// `||` over `&&` over relations, chains balanced as cel-go does.
    fn logical(&mut self, function: &'static str) -> Step<Expr> {
        let (symbol, or) = if function == operator::OR { ("||", true) } else { ("&&", false) };
        let one = |parser: &mut Self| {
            if or { parser.logical(operator::AND) } else { parser.binary(0) }
        };
        let mut terms = vec![one(self)?];
        let mut ids = Vec::new();
        while let Some(token) = self.take(symbol) {
            terms.push(one(self)?);
            ids.push(self.id(token.at));
        }
        let mut terms: Vec<Option<Expr>> = terms.into_iter().map(Some).collect();
        Ok(balance(function, &mut terms, &ids, 0, ids.len()))
    }

    fn binary(&mut self, level: usize) -> Step<Expr> {
        const LEVELS: [&[(&str, &str)]; 3] = [
            &[
                ("<", "_<_"),
                ("<=", "_<=_"),
                (">=", "_>=_"),
                (">", "_>_"),
                ("==", "_==_"),
                ("!=", "_!=_"),
                ("in", "@in"),
            ],
            &[("+", "_+_"), ("-", "_-_")],
            &[("*", "_*_"), ("/", "_/_"), ("%", "_%_")],
        ];
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        let before = self.depth;
        while let Some((_, function)) = operators.iter().find(|(symbol, _)| self.peek().is(symbol)) {
            // A chain nests in its result.
            self.deeper()?;
            let token = self.advance();
            let id = self.id(token.at);
            let right = self.binary(level + 1)?;
            let call = Call { target: None, function: (*function).into(), args: vec![left, right] };
            left = Expr { id, kind: Kind::Call(Box::new(call)) };
        }
        self.depth = before;
        Ok(left)
    }

    fn unary(&mut self) -> Step<Expr> {
        for (symbol, function) in [("!", operator::NOT), ("-", operator::NEGATE)] {
            let Some(first) = self.take(symbol) else { continue };
            if symbol == "-" && matches!(self.peek().kind, TokenKind::Int | TokenKind::Float) {
                let literal = self.number(first.at, "-")?;
                return self.members(literal);
            }
            let mut count = 1;
            while self.take(symbol).is_some() {
                count += 1;
            }
            let id = self.id(first.at);
            let operand = self.member()?;
            if count % 2 == 0 {
                return Ok(operand);
            }
            let call = Call { target: None, function: function.into(), args: vec![operand] };
            return Ok(Expr { id, kind: Kind::Call(Box::new(call)) });
        }
        self.member()
    }

    fn member(&mut self) -> Step<Expr> {
        let primary = self.primary()?;
        self.members(primary)
    }

    /// Selections, calls and indexes behind an operand.
    fn members(&mut self, mut operand: Expr) -> Step<Expr> {
        let before = self.depth;
        loop {
            if let Some(dot) = self.take(".") {
                self.deeper()?;
                let optional = self.take("?").is_some();
                let name = self.field_name()?;
                if optional {
                    let at = self.peek().at;
                    let field = self.node(at.min(dot.at + 2), Kind::Literal(Literal::String(name)));
                    operand = self.call(dot.at, operator::OPTIONAL_SELECT, vec![operand, field]);
                } else if self.peek().is("(") {
                    let open = self.advance();
                    let id = self.id(open.at);
                    let args = self.arguments(")")?;
                    operand = self.member_call(id, operand, name, args)?;
                } else {
                    let select = Select { operand, field: name, test: false };
                    operand = self.node(dot.at, Kind::Select(Box::new(select)));
                }
            } else if let Some(open) = self.take("[") {
                self.deeper()?;
                let id = self.id(open.at);
                let optional = self.take("?").is_some();
                let index = self.expr()?;
                self.expect("]")?;
                let function = if optional { operator::OPTIONAL_INDEX } else { operator::INDEX };
                let call = Call { target: None, function: function.into(), args: vec![operand, index] };
                operand = Expr { id, kind: Kind::Call(Box::new(call)) };
            } else {
                self.depth = before;
                return Ok(operand);
            }
        }
    }

    fn field_name(&mut self) -> Step<Arc<str>> {
        match self.peek().kind {
            TokenKind::Ident => Ok(self.advance().text),
            TokenKind::Quoted => Ok(self.advance().text.trim_matches('`').into()),
            TokenKind::Text(_) => {
                let found = self.peek().text.to_string();
                self.wrong(format!("no viable alternative at input '.{found}'"))
            }
            _ => {
                let found = self.peek().shown();
                self.wrong(format!("no viable alternative at input '.{}'", found.trim_matches('\'')))
            }
        }
    }

    fn member_call(&mut self, id: Id, target: Expr, name: Arc<str>, args: Vec<Expr>) -> Step<Expr> {
        let call = Call { target: Some(target), function: name, args };
        macros::expand(self, id, call)
    }

    fn arguments(&mut self, close: &str) -> Step<Vec<Expr>> {
        let mut out = Vec::new();
        if self.take(close).is_some() {
            return Ok(out);
        }
        loop {
            out.push(self.expr()?);
            if self.take(",").is_none() {
                self.expect(close)?;
                return Ok(out);
            }
        }
    }

    fn primary(&mut self) -> Step<Expr> {
        let token = self.peek().clone();
        match &token.kind {
            TokenKind::Int | TokenKind::Uint | TokenKind::Float => self.number(token.at, ""),
            TokenKind::Text(literal) => {
                self.advance();
                Ok(self.node(token.at, Kind::Literal(literal.clone())))
            }
            TokenKind::Word if &*token.text != "in" => {
                self.advance();
                let literal = match &*token.text {
                    "true" => Literal::Bool(true),
                    "false" => Literal::Bool(false),
                    _ => Literal::Null,
                };
                Ok(self.node(token.at, Kind::Literal(literal)))
            }
            TokenKind::Ident => self.named(token.at, ""),
            TokenKind::Symbol => match &*token.text {
                "." => {
                    self.advance();
                    if self.peek().kind != TokenKind::Ident {
                        let found = self.peek().shown();
                        return self.wrong(format!("mismatched input {found} expecting IDENTIFIER"));
                    }
                    self.named(token.at, ".")
                }
                "(" => {
                    self.advance();
                    let inner = self.expr()?;
                    self.expect(")")?;
                    Ok(inner)
                }
                "[" => self.list(),
                "{" => self.map(),
                _ => self.no_operand(),
            },
            _ => self.no_operand(),
        }
    }

    fn no_operand(&mut self) -> Step<Expr> {
        let found = self.peek().shown();
        let next = self.ahead(1);
        let starts = !matches!(next.kind, TokenKind::End | TokenKind::Symbol)
            || ["[", "{", "(", ".", "-", "!"].iter().any(|symbol| next.is(symbol));
        let word = if starts && self.peek().kind != TokenKind::End { "extraneous" } else { "mismatched" };
        self.wrong(format!("{word} input {found} expecting {STARTS}"))
    }

    fn number(&mut self, at: u32, sign: &str) -> Step<Expr> {
        let token = self.advance();
        let text = token.text.to_string();
        let digits = text.trim_end_matches(['u', 'U']);
        let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
        let literal = match token.kind {
            TokenKind::Int => {
                let signed = format!("{sign}{}", hex.unwrap_or(digits));
                i64::from_str_radix(&signed, if hex.is_some() { 16 } else { 10 }).ok().map(Literal::Int)
            }
            TokenKind::Uint => {
                u64::from_str_radix(hex.unwrap_or(digits), if hex.is_some() { 16 } else { 10 })
                    .ok()
                    .map(Literal::Uint)
            }
            _ => format!("{sign}{text}").parse::<f64>().ok().filter(|n| n.is_finite()).map(Literal::Double),
        };
        let kind = match token.kind {
            TokenKind::Int => "int",
            TokenKind::Uint => "uint",
            _ => "double",
        };
        match literal {
            Some(literal) => Ok(self.node(at, Kind::Literal(literal))),
            None => {
                self.issues.push(Issue::at(at, format!("invalid {kind} literal")));
                Ok(self.node(at, Kind::Literal(Literal::Null)))
            }
        }
    }

    /// A variable, a call, or the construction of an object.
    fn named(&mut self, at: u32, dot: &str) -> Step<Expr> {
        let token = self.advance();
        if RESERVED.contains(&&*token.text) {
            self.issues.push(Issue::at(token.at, format!("reserved identifier: {}", token.text)));
        }
        let name: Arc<str> = if dot.is_empty() { token.text } else { format!(".{}", token.text).into() };
        if self.peek().is("(") {
            let open = self.advance();
            let id = self.id(open.at);
            let args = self.arguments(")")?;
            return macros::expand(self, id, Call { target: None, function: name, args });
        }
        // `a.b{…}`: the name of what is made goes up to the bracket.
        let mut ahead = 0;
        while self.ahead(ahead).is(".") && self.ahead(ahead + 1).kind == TokenKind::Ident {
            ahead += 2;
        }
        if self.ahead(ahead).is("{") {
            let mut whole = name.to_string();
            for _ in 0..ahead / 2 {
                self.advance();
                whole.push('.');
                whole.push_str(&self.advance().text);
            }
            return self.object(whole.into());
        }
        Ok(self.node(at, Kind::Ident(name)))
    }

    fn object(&mut self, name: Arc<str>) -> Step<Expr> {
        let open = self.advance();
        let id = self.id(open.at);
        let mut fields = Vec::new();
        while self.take("}").is_none() {
            let optional = self.take("?").is_some();
            let name = match self.peek().kind {
                TokenKind::Ident => self.advance().text,
                TokenKind::Quoted => self.advance().text.trim_matches('`').into(),
                _ => {
                    let found = self.peek().shown();
                    return self
                        .wrong(format!("mismatched input {found} expecting {{'}}', ',', '?', IDENTIFIER}}"));
                }
            };
            let colon = self.expect(":")?;
            let id = self.id(colon.at);
            let value = self.expr()?;
            fields.push(StructField { id, name, value, optional });
            if self.take(",").is_none() {
                self.expect("}")?;
                break;
            }
        }
        Ok(Expr { id, kind: Kind::Struct(Struct { name, fields }) })
    }

    fn list(&mut self) -> Step<Expr> {
        let open = self.advance();
        let id = self.id(open.at);
        let mut list = List::default();
        while self.take("]").is_none() {
            if self.take("?").is_some() {
                list.optional.push(list.elements.len());
            }
            list.elements.push(self.expr()?);
            if self.take(",").is_none() {
                self.expect("]")?;
                break;
            }
        }
        Ok(Expr { id, kind: Kind::List(list) })
    }

    fn map(&mut self) -> Step<Expr> {
        let open = self.advance();
        let id = self.id(open.at);
        let mut entries = Vec::new();
        while self.take("}").is_none() {
            let optional = self.take("?").is_some();
            let key = self.expr()?;
            self.expect(":")?;
            let value = self.expr()?;
            entries.push(MapEntry { key, value, optional });
            if self.take(",").is_none() {
                self.expect("}")?;
                break;
            }
        }
        Ok(Expr { id, kind: Kind::Map(entries) })
    }
}

/// The terms from `low` to `high` under one operator, in a tree of even depth.
fn balance(function: &str, terms: &mut [Option<Expr>], ids: &[Id], low: usize, high: usize) -> Expr {
    let missing = || Expr { id: 0, kind: Kind::Literal(Literal::Null) };
    if low == high {
        return terms[low].take().unwrap_or_else(missing);
    }
    let middle = (low + high).div_ceil(2) - 1;
    let left = balance(function, terms, ids, low, middle);
    let right = balance(function, terms, ids, middle + 1, high);
    let call = Call { target: None, function: function.into(), args: vec![left, right] };
    Expr { id: ids[middle], kind: Kind::Call(Box::new(call)) }
}
