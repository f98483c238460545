use std::fmt;

/// A place in a text; both numbers count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line.
    pub line: u64,
    /// Column.
    pub column: u64,
}

/// One thing that is wrong in a file, shown as `FILE:LINE:COLUMN: FIELD: what is wrong; allowed: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding<D> {
    /// The file, as its reader calls it.
    pub file: String,
    /// Where in the file; none if it concerns the file as a whole.
    pub place: Option<Place>,
    /// Path of the field, such as `nodes[2].addresses[0]`; empty for the document itself.
    pub field: String,
    /// What is wrong, with the value and what is allowed.
    pub defect: D,
}

impl<D: fmt::Display> fmt::Display for Finding<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(place) = self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.defect)
    }
}

/// Everything that is wrong in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings<D> {
    file: String,
    list: Vec<Finding<D>>,
}

impl<D> Findings<D> {
    /// Nothing found in this file so far.
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), list: Vec::new() }
    }

    /// Just this one; without a place if it concerns the file as a whole.
    pub fn one(file: &str, place: Option<Place>, field: String, defect: impl Into<D>) -> Self {
        let list = vec![Finding { file: file.to_owned(), place, field, defect: defect.into() }];
        Self { file: file.to_owned(), list }
    }

    /// Adds a finding.
    pub fn add(&mut self, place: Place, field: impl Into<String>, defect: impl Into<D>) {
        let (file, field) = (self.file.clone(), field.into());
        self.list.push(Finding { file, place: Some(place), field, defect: defect.into() });
    }

    /// The value, or none and a finding.
    pub fn check<T, E: Into<D>>(
        &mut self,
        place: Place,
        field: impl Into<String>,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|defect| self.add(place, field, defect)).ok()
    }

    /// What was found so far.
    pub fn iter(&self) -> impl Iterator<Item = &Finding<D>> {
        self.list.iter()
    }

    /// Name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The value if nothing was found, otherwise the findings, by their place in the file.
    pub fn into_result<T>(mut self, value: Option<T>) -> Result<T, Self> {
        self.list.sort_by_key(|finding| finding.place);
        match value {
            Some(value) if self.list.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

impl<D: fmt::Display> fmt::Display for Findings<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.list.iter().enumerate() {
            write!(f, "{}{finding}", if index > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}
