//! What the pages say, tried: each command prints what stands below it.

use crate::console::run_page;

#[test]
fn the_tour_in_the_readme_prints_what_it_says() {
    assert!(run_page("README.md") >= 15);
}

#[test]
fn the_tour_of_the_command_line_prints_what_it_says() {
    assert!(run_page("docs/cli.md") >= 15);
}

#[test]
fn the_examples_of_the_api_print_what_they_say() {
    assert!(run_page("docs/api.md") >= 15);
}

#[test]
fn the_guide_from_kgents_prints_what_it_says() {
    assert!(run_page("docs/migrating-from-kgents.md") >= 15);
}
