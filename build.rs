//! Makes cargo notice a migration that was added: without this, only changes to known ones rebuild the program.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
