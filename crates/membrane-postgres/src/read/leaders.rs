//! Who has a role.

use membrane_core::ids::InstanceId;
use membrane_core::role::Role;
use membrane_store::StoreError;

use crate::db::Db;
use crate::error::Doing;
use crate::rows;
use crate::value::values;

/// The instance that has a role, if its lease lasts.
pub(crate) async fn find(db: Db<'_>, role: Role) -> Result<Option<InstanceId>, StoreError> {
    let sql = "SELECT instance_id FROM leaders WHERE role = $1 AND until > clock_timestamp()";
    let found = db.find(sql, &values![role.as_str()]).await.doing("look for a leader")?;
    found
        .map(|row| rows::read("leaders", &row, |row| Ok(InstanceId::from_stored(&rows::text(row, 0)?))))
        .transpose()
}
