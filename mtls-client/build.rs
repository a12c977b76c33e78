//! Compiles the code that runs before `main`.

fn main() {
    println!("cargo::rerun-if-changed=src/output/closed_stdout.c");
    cc::Build::new()
        .file("src/output/closed_stdout.c")
        .link_lib_modifier("+whole-archive")
        .compile("closed_stdout");
}
