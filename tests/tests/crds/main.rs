//! Custom resources as platform teams bring them: sets of definitions shaped as those of well-known projects, and add-ons that
//! control planes share.

mod addons;
mod definitions;
mod objects;
mod published;
mod sets;
