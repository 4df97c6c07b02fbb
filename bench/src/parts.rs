//! What is measured, one module each.

mod cold_start;
mod density;
mod footprint;
mod image_endpoints;
mod images;
mod neighbours;
mod rest;
mod throughput;

use crate::{Bench, Failure, report::Report};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// From each rung to the first correct answer, beside the bare process, Triton and runc
    ColdStart,
    /// Latency at rising rates, and processor time of a request
    Throughput,
    /// Memory of several replicas of one model
    Density,
    /// What a node costs that serves nobody
    Footprint,
    /// Unpacking the layers of an image, beside tar
    Images,
    /// Requests to endpoints of images: warm beside nginx, first ones beside runc and containerd
    ImageEndpoints,
    /// What a neighbour notices of a replica that takes all it can get
    Neighbours,
}

impl Part {
    /// Those that run where none is named.
    pub(crate) const USUAL: [Self; 6] =
        [Self::ColdStart, Self::Throughput, Self::Density, Self::Footprint, Self::Images, Self::ImageEndpoints];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ColdStart => "cold-start",
            Self::Throughput => "throughput",
            Self::Density => "density",
            Self::Footprint => "footprint",
            Self::Images => "images",
            Self::ImageEndpoints => "image-endpoints",
            Self::Neighbours => "neighbours",
        }
    }

    pub(crate) fn measure(self, bench: &Bench) -> Result<Report, Failure> {
        match self {
            Self::ColdStart => cold_start::measure(bench),
            Self::Throughput => throughput::measure(bench),
            Self::Density => density::measure(bench),
            Self::Footprint => footprint::measure(bench),
            Self::Images => images::measure(bench),
            Self::ImageEndpoints => image_endpoints::measure(bench),
            Self::Neighbours => neighbours::measure(bench),
        }
    }
}
