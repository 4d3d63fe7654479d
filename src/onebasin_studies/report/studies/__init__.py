"""Reports of studies: pages, an index, figures and tables."""

from onebasin_studies.report.studies.files import write_run_index, write_study_reports
from onebasin_studies.report.studies.summaries import report_folders, run_and_report

__all__ = ["report_folders", "run_and_report", "write_run_index", "write_study_reports"]
