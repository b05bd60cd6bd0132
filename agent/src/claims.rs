//! Claims, written to etcd: each only if etcd has the revision that it was decided on.

use etcd_client::{Compare, CompareOp, Error, KvClient, PutOptions, Txn, TxnOp};

use crate::keys::Keys;
use crate::state::ClaimOp;

/// Claims of one transaction. etcd takes 128 operations.
pub const BATCH: usize = 64;

/// Writes them, and says of each in which revision, or `None` if etcd has another one than was expected.
///
/// # Errors
/// It is not known what became of them.
pub async fn write(mut kv: KvClient, keys: &Keys, ops: Vec<ClaimOp>) -> Result<Vec<(ClaimOp, Option<i64>)>, Error> {
    let mut done = Vec::new();
    let mut waiting = vec![ops];
    while let Some(mut part) = waiting.pop() {
        let answer = kv.txn(transaction(keys, &part)).await?;
        if answer.succeeded() {
            let revision = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
            done.extend(part.into_iter().map(|op| (op, Some(revision))));
        } else if part.len() == 1 {
            done.extend(part.into_iter().map(|op| (op, None)));
        } else {
            // One of them stands in the way of the others.
            let second = part.split_off(part.len() / 2);
            waiting.extend([second, part]);
        }
    }
    Ok(done)
}

fn transaction(keys: &Keys, ops: &[ClaimOp]) -> Txn {
    let as_expected = |op: &ClaimOp| Compare::mod_revision(keys.session(&op.peer), CompareOp::Equal, op.expected);
    let change = |op: &ClaimOp| match &op.owner {
        Some(owner) => {
            let under = PutOptions::new().with_lease(op.lease);
            TxnOp::put(keys.session(&op.peer), owner.to_json(), Some(under))
        }
        None => TxnOp::delete(keys.session(&op.peer), None),
    };
    Txn::new()
        .when(ops.iter().map(as_expected).collect::<Vec<_>>())
        .and_then(ops.iter().map(change).collect::<Vec<_>>())
}
