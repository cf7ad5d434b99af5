/** The options of `plan` on the command line. */
import type { ReportSettings } from '../../models/model_report.js';

export interface PlanFlags extends ReportSettings {
  readonly json?: true;
  readonly all?: true;
  readonly options?: true;
}
