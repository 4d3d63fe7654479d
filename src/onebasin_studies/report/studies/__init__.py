"""Reports of studies: a page for each, an index, and their figures and tables as files."""

from onebasin_studies.report.studies.files import write_run_index, write_study_reports

__all__ = ["write_run_index", "write_study_reports"]
