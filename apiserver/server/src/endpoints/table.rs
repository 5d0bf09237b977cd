//! Tables: the rows and columns that `kubectl get` prints.

use std::sync::Arc;

use kplane_kinds::Column;
use kplane_machinery::table::{self, ColumnDefinition, CustomColumns, IncludeObject, PrinterColumn};
use kplane_machinery::time::Time;
use kplane_machinery::{Status, meta};
use serde_json::Value;

use super::cx::Resource;
use super::negotiate::Form;
use super::output;
use crate::query::Query;

/// What of an object a row carries.
#[derive(Clone, Copy, Debug)]
pub struct Include(IncludeObject);

impl Include {
    /// Nothing but the cells.
    pub const CELLS: Self = Self(IncludeObject::None);

    /// Reads `includeObject`.
    pub fn parse(query: &Query) -> Result<Self, Status> {
        let text = query.get("includeObject").unwrap_or("");
        meta::invalid_options("TableOptions", &meta::validate_table_options(text))?;
        Ok(Self(IncludeObject::parse(text).unwrap_or_default()))
    }
}

/// The columns of a resource, and how a row's cells are found.
pub struct Printer {
    resource: Resource,
    definitions: Vec<ColumnDefinition>,
    custom: Option<Arc<CustomColumns>>,
}

impl Printer {
    /// Of the version of a request.
    pub fn new(resource: &Resource) -> Result<Self, Status> {
        let version = resource.version_def()?;
        if resource.def.custom {
            let given: Vec<PrinterColumn> = version.columns.iter().map(printer_column).collect();
            let columns = CustomColumns::new(&given).map_err(Status::internal)?;
            return Ok(Self {
                resource: resource.clone(),
                definitions: columns.definitions().to_vec(),
                custom: Some(Arc::new(columns)),
            });
        }
        let definitions = if version.columns.is_empty() {
            table::default_columns()
        } else {
            version.columns.iter().map(definition).collect()
        };
        Ok(Self { resource: resource.clone(), definitions, custom: None })
    }

    /// The definitions.
    pub fn definitions(&self) -> &[ColumnDefinition] {
        &self.definitions
    }

    /// The row of an object.
    pub fn row(&self, object: &Value, include: Include, form: Form) -> Value {
        let now = Time::now();
        let cells = match &self.custom {
            Some(columns) => columns.cells(object, now),
            None => self
                .resource
                .def
                .strategy
                .row(&self.resource.version, object, now.unix())
                .unwrap_or_else(|| table::default_cells(object)),
        };
        let mut row = table::row(cells, object, include.0);
        if include.0 == IncludeObject::Metadata {
            row["object"] = output::metadata_of(&self.resource, object, form);
        }
        row
    }
}

fn definition(column: &Column) -> ColumnDefinition {
    ColumnDefinition {
        name: column.name.to_string(),
        column_type: column.column_type.to_string(),
        format: column.format.to_string(),
        description: column.description.to_string(),
        priority: column.priority,
    }
}

fn printer_column(column: &Column) -> PrinterColumn {
    PrinterColumn {
        name: column.name.to_string(),
        column_type: column.column_type.to_string(),
        format: column.format.to_string(),
        description: column.description.to_string(),
        priority: column.priority,
        json_path: column.json_path.as_deref().unwrap_or("").to_owned(),
    }
}
