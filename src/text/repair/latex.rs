//! LaTeX that went through JSON once too often, or once too little: `\\frac` where `\frac` was meant, a form feed and `rac`
//! where `\f` was read as an escape.
//!
//! The rules of Luth's Scholar set: four backslashes are two, three are one, two before the name of a command are one. Two
//! before anything else stay, for they end a line.

/// Commands whose name a doubled backslash never comes before on purpose.
const COMMANDS: &[&str] = &[
    "alpha",
    "approx",
    "arccos",
    "arcsin",
    "arctan",
    "bar",
    "begin",
    "beta",
    "binom",
    "boldsymbol",
    "boxed",
    "bullet",
    "cap",
    "cdot",
    "cdots",
    "circ",
    "cos",
    "cosh",
    "cup",
    "dfrac",
    "delta",
    "Delta",
    "displaystyle",
    "div",
    "dots",
    "ell",
    "emptyset",
    "end",
    "epsilon",
    "equiv",
    "eta",
    "exists",
    "exp",
    "forall",
    "frac",
    "gamma",
    "Gamma",
    "geq",
    "geqslant",
    "hat",
    "hbar",
    "hspace",
    "iff",
    "iint",
    "implies",
    "in",
    "infty",
    "int",
    "kappa",
    "lambda",
    "Lambda",
    "langle",
    "ldots",
    "left",
    "leq",
    "leqslant",
    "lfloor",
    "lim",
    "ln",
    "log",
    "mathbb",
    "mathbf",
    "mathcal",
    "mathrm",
    "mapsto",
    "max",
    "mid",
    "min",
    "mp",
    "mu",
    "nabla",
    "neq",
    "notin",
    "nu",
    "oint",
    "omega",
    "Omega",
    "operatorname",
    "overline",
    "overrightarrow",
    "partial",
    "perp",
    "phi",
    "Phi",
    "pi",
    "Pi",
    "pm",
    "prod",
    "psi",
    "Psi",
    "qquad",
    "quad",
    "rangle",
    "rfloor",
    "rho",
    "right",
    "rightarrow",
    "Rightarrow",
    "setminus",
    "sigma",
    "Sigma",
    "sim",
    "sin",
    "sinh",
    "sqrt",
    "subset",
    "subseteq",
    "sum",
    "tan",
    "tanh",
    "tau",
    "text",
    "textbf",
    "textit",
    "tfrac",
    "theta",
    "Theta",
    "tilde",
    "times",
    "to",
    "underline",
    "varepsilon",
    "varphi",
    "vec",
    "vert",
    "wedge",
    "widehat",
    "xi",
    "zeta",
];

/// What a control character was before JSON read it, and the names that show it.
const ESCAPED: &[(char, char, &[&str])] = &[
    ('\u{8}', 'b', &["ar", "egin", "eta", "inom", "oldsymbol", "oxed", "ullet"]),
    ('\u{c}', 'f', &["rac", "orall"]),
    ('\t', 't', &["an", "anh", "au", "ext", "extbf", "extit", "frac", "heta", "ilde", "imes"]),
    ('\r', 'r', &["angle", "floor", "ho", "ight", "ightarrow"]),
];

fn name(text: &str) -> &str {
    &text[..text.bytes().take_while(u8::is_ascii_alphabetic).count()]
}

/// The text with its backslashes mended, and how many places were.
pub fn fix_latex(text: &str) -> (String, usize) {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut mended) = (text, 0);
    while let Some(at) = rest.find(['\\', '\u{8}', '\u{c}', '\t', '\r']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('\\') {
            let count = rest.bytes().take_while(|byte| *byte == b'\\').count();
            rest = &rest[count..];
            let kept = match count {
                4 => 2,
                3 => 1,
                2 if COMMANDS.contains(&name(rest)) => 1,
                count => count,
            };
            mended += usize::from(kept != count);
            out.extend(std::iter::repeat_n('\\', kept));
            continue;
        }
        let after = &rest[1..];
        let escaped =
            ESCAPED.iter().find(|(control, _, names)| rest.starts_with(*control) && names.contains(&name(after)));
        match escaped {
            Some((_, letter, _)) => {
                out.extend(['\\', *letter]);
                mended += 1;
            }
            None => out.push_str(&rest[..1]),
        }
        rest = after;
    }
    out.push_str(rest);
    (out, mended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backslashes_are_counted() {
        for (text, fixed, mended) in [
            (r"$\\frac{1}{2}$", r"$\frac{1}{2}$", 1),
            (r"a \\\\ b \\\alpha", r"a \\ b \alpha", 2),
            (r"\begin{cases} x \\ y \end{cases}", r"\begin{cases} x \\ y \end{cases}", 0),
            (r"1 & 2 \\hline", r"1 & 2 \\hline", 0),
            ("$\u{c}rac{1}{2} \times 3$, a\tb", "$\\frac{1}{2} \\times 3$, a\tb", 2),
        ] {
            assert_eq!(fix_latex(text), (fixed.to_owned(), mended));
        }
    }

    proptest::proptest! {
        #[test]
        fn mended_once_is_mended(text in r"[\\a-z{}\t $]{0,30}|(\\\\frac|\\\\\\|\\alpha| ){0,8}") {
            let (fixed, _) = fix_latex(&text);
            let (again, mended) = fix_latex(&fixed);
            // A run of four before a name takes two readings, as it was written twice.
            if !text.contains(r"\\\\") {
                proptest::prop_assert_eq!((again, mended), (fixed, 0));
            }
        }
    }
}
