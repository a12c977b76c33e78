//! Compiles what runs before `main`.

fn main() {
    println!("cargo::rerun-if-changed=src/closed_stdout.c");
    cc::Build::new()
        .file("src/closed_stdout.c")
        .link_lib_modifier("+whole-archive")
        .compile("closed_stdout");
}
