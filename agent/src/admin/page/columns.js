// What the tables show of a row.

import { bytes, milliseconds, rate, share } from "./format.js";
import { told } from "./traffic.js";

const perSecond = (title, of, traffic, text = rate) => ({ title, number: true, text: (row) => text(of(row) / traffic.length()), value: of });
const ofTold = (title, of, text, mark) => ({ title, number: true, mark, text: (row) => text(of(told(row))), value: (row) => of(told(row)) ?? -1 });
const word = (title, of) => ({ title, text: of, value: of });

const open = { title: "Open", number: true, text: (row) => String(row.own.open + row.other.open), value: (row) => row.own.open + row.other.open };
const howItWent = [
  ofTold("Failed", (sum) => sum.failures(), share, "failed"),
  ofTold("P50", (sum) => sum.quantile(0.5), milliseconds),
  ofTold("P99", (sum) => sum.quantile(0.99), milliseconds),
];
const allBytes = (row) => row.own.bytes + row.other.bytes;
const trend = { title: "Last minute", trend: true };

export const ofWorkloads = (traffic) => [
  word("Workload", (row) => row.key),
  perSecond("In/s", (row) => row.own.count, traffic),
  perSecond("Out/s", (row) => row.other.count, traffic),
  ...howItWent,
  open,
  perSecond("Bytes/s", allBytes, traffic, bytes),
  ofTold("mTLS", (sum) => sum.encrypted(), share),
  trend,
];

export const ofRoutes = (traffic) => [
  word("Service", (row) => row.facts.service),
  word("Rule", (row) => row.facts.rule),
  word("To", (row) => row.facts.to),
  perSecond("Rate/s", (row) => row.own.count, traffic),
  { title: "Share", number: true, text: (row) => share(row.share), value: (row) => row.share },
  ...howItWent,
  open,
  trend,
];
