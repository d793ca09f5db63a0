//! The manual page, made from the option table so that it cannot fall behind it.

use super::help::{default_text, synopsis};
use super::{OptionSpec, Program, Status};

/// The parts of a manual page that no table knows.
#[derive(Clone, Copy, Debug)]
pub struct ManPage {
    /// Section of the manual.
    pub section: u8,
    /// Paragraphs of DESCRIPTION.
    pub description: &'static [&'static str],
    /// Sections after the options: title and paragraphs; a paragraph `term\ttext` is a definition.
    pub sections: &'static [(&'static str, &'static [&'static str])],
}

/// Renders the page in the `man` macros.
pub fn render(program: &Program, page: &ManPage) -> String {
    let mut text = format!(".TH {} {}\n", program.name.to_uppercase(), page.section);
    heading(&mut text, "NAME");
    text.push_str(&format!("{} \\- {}\n", escape(program.name), escape(program.summary)));
    heading(&mut text, "SYNOPSIS");
    let has_file = !program.config_section.is_empty();
    let operands = if has_file { "[OPTION...]" } else { "[OPTION...] COMMAND..." };
    text.push_str(&format!(".B {}\n{operands}\n", escape(program.name)));
    heading(&mut text, "DESCRIPTION");
    paragraphs(&mut text, page.description);
    heading(&mut text, "OPTIONS");
    let about_file = has_file.then_some(
        "Every long option is also a key of the config file, without the dashes in front. Lists are repeated on the \
         command line and separated by semicolons in the file; flags are set to \\fBtrue\\fR or \\fBfalse\\fR there.\n",
    );
    text.extend(about_file);
    text.push_str(".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nPrint a list of all options.\n");
    for group in program.groups {
        let listed: Vec<_> = group.options.iter().filter(|spec| spec.is_listed()).collect();
        if !listed.is_empty() {
            text.push_str(&format!(".SS {}\n", escape(group.title)));
        }
        for spec in listed {
            option(&mut text, spec);
        }
    }
    for (title, content) in page.sections {
        heading(&mut text, title);
        paragraphs(&mut text, content);
    }
    text
}

fn option(text: &mut String, spec: &OptionSpec) {
    text.push_str(&format!(".TP\n\\fB{}\\fR\n{}.", escape(&synopsis(spec)), escape(spec.help)));
    if let Some(accepted) = spec.accepts.describe() {
        text.push_str(&format!("\nAccepted: {}.", escape(&accepted)));
    }
    if let Some(default) = default_text(spec) {
        text.push_str(&format!("\nDefault: {}.", escape(default)));
    }
    if let Status::Without(reason) = spec.status {
        text.push_str(&format!("\n(Accepted and checked; without effect: {}.)", escape(reason)));
    }
    text.push('\n');
}

fn heading(text: &mut String, title: &str) {
    text.push_str(&format!(".SH {}\n", escape(title)));
}

fn paragraphs(text: &mut String, paragraphs: &[&str]) {
    for paragraph in paragraphs {
        match paragraph.split_once('\t') {
            Some((term, definition)) => {
                text.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", escape(term), escape(definition)));
            }
            None => text.push_str(&format!(".PP\n{}\n", escape(paragraph))),
        }
    }
}

/// Protects what roff would interpret: backslashes, dashes (which may become hyphens), a control character in front.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}
