//! The real binary on real files: what it prints, what it keeps, and what it ends with.

#[cfg(test)]
mod backups;
#[cfg(test)]
mod configuration;
// Pages are written for a Unix shell.
#[cfg(test)]
#[cfg(unix)]
mod console;
#[cfg(test)]
mod copying;
#[cfg(test)]
mod copying_postgres;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod doctor_postgres;
#[cfg(test)]
mod exits;
#[cfg(test)]
mod export;
#[cfg(test)]
mod feeding;
#[cfg(test)]
mod importing;
#[cfg(test)]
mod json;
#[cfg(test)]
#[cfg(unix)]
mod pages;
#[cfg(test)]
mod places;
#[cfg(test)]
mod postgres_commands;
#[cfg(test)]
mod postgres_urls;
// Signals, small disks and a process's memory are tried in Linux's way.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod served;
#[cfg(test)]
mod tool;
#[cfg(test)]
mod tour;
#[cfg(test)]
mod upgrading_postgres;
