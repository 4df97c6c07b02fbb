//! The packages here compile sources of the product once more, with one thing different: a defence
//! can be taken away. Nothing of the product depends on them.

fn main() {
    println!("cargo::rustc-cfg=weakened");
}
