/** Names that the library of the compiler lacks. */

declare var uPlot: any; // vendored

interface JSON {
  rawJSON?(text: string): { rawJSON: string };
  isRawJSON?(value: unknown): value is { rawJSON: string };
}

