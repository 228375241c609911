//! What is done to a whole pool, what is asked of it at once, and what is waited for.

use std::rc::Rc;

use pool_core::{DrainReport, ResourceLease};

use super::get::{GetState, Held, Outcome};
use super::op::Op;
use super::run::Run;
use crate::harness::Side;

impl<K: Side> Run<K> {
    /// Operations that are more than one get's.
    pub fn step_whole(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::GetMany { name, count, options } => {
                let (pool, options, count) = (self.pool()?.clone(), options.of_get(), *count);
                self.started += 1;
                self.several += count as u64 - 1;
                let held = Held::default();
                let slot = Rc::clone(&held);
                let get = async move {
                    let leases = pool.get_many_with(count, options).await?;
                    slot.replace(Some(leases.iter().map(ResourceLease::id).collect()));
                    std::future::pending().await
                };
                self.start(name, get, held)?;
            }
            Op::Replace { name, by } => {
                let GetState::Detached(by_resource) = self.over(by)? else {
                    return Err(format!("{by} was not detached"));
                };
                let mut lease = self.lease(name)?;
                let before = K::replace(&mut lease, by_resource);
                let before = before.ok_or("a shared resource cannot be replaced")?;
                self.detached += 1;
                self.given += 1;
                self.get(name)?.state = GetState::Served(lease);
                self.get(by)?.state = GetState::Detached(before);
            }
            Op::Resize(size) => {
                self.max_size = self.max_size.max(*size);
                self.pool()?.resize(*size);
            }
            Op::Close => self.pool()?.close(),
            Op::WarmUp { name, timeout } => {
                let (pool, timeout) = (self.pool()?.clone(), *timeout);
                let warm = async move { pool.warm_up(timeout).await.map(|()| done("")) };
                self.start(name, warm, Held::default())?;
            }
            Op::Drain { name, timeout } => {
                let (pool, timeout) = (self.pool()?.clone(), *timeout);
                let drain = async move {
                    let DrainReport { complete, leases, resources, .. } = pool.drain(timeout).await;
                    Ok(done(&format!("complete={complete} leases={leases} resources={resources}")))
                };
                self.start(name, drain, Held::default())?;
            }
            Op::Closed(name) => {
                let closed = self.pool()?.closed();
                let closed = async move {
                    closed.await;
                    Ok(done(""))
                };
                self.start(name, closed, Held::default())?;
            }
            Op::LeaseClosed { name, of } => {
                let closed = match &self.get(of)?.state {
                    GetState::Served(lease) => ResourceLease::closed(lease),
                    other => return Err(format!("{of} has no lease: {}", other.describe())),
                };
                let closed = async move {
                    closed.await;
                    Ok(done(""))
                };
                self.start(name, closed, Held::default())?;
            }
            Op::Limits(fields) => {
                let mut limits = self.pool()?.limits();
                for (name, value) in fields {
                    let value = value.parse().map_err(|_| format!("{value} is no number"))?;
                    match name.as_str() {
                        "max_size" => limits.max_size = value,
                        "min_size" => limits.min_size = value,
                        "min_idle" => limits.min_idle = value,
                        "max_idle" => limits.max_idle = Some(value),
                        "max_waiters" => limits.max_waiters = value,
                        "max_creating" => limits.max_creating = value,
                        _ => return Err(format!("there is no limit `{name}`")),
                    }
                }
                self.max_size = self.max_size.max(limits.max_size);
                self.pool()?.set_limits(limits).map_err(|error| error.to_string())?;
            }
            Op::Retain(resources) => {
                self.hear();
                let keep: Vec<_> = resources.iter().map(|&at| self.ids.get(at).copied()).collect();
                let retained =
                    self.pool()?.retain(|resource, _meta| keep.contains(&Some(resource.id())));
                self.retained = format!("kept={} removed={}", retained.kept, retained.removed);
            }
            Op::Reset => drop(self.pool()?.reset()),
            Op::Pause(pause) => self.pool()?.pause(*pause),
            Op::Resume => self.pool()?.resume(),
            other => return Err(format!("{other:?} is played elsewhere")),
        }
        Ok(())
    }
}

fn done<K: Side>(report: &str) -> Outcome<K> {
    Outcome::Done(report.to_owned())
}
