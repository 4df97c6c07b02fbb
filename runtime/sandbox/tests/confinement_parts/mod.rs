pub mod cases;
pub mod worker;
