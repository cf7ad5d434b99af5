/** What the command line of `plan` gives. */
import type { ReportSettings } from '../../models/model_report.js';

export interface PlanFlags extends ReportSettings {
  readonly json?: true;
  readonly all?: true;
  readonly options?: true;
}
