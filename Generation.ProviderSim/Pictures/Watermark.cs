using SkiaSharp;

namespace Generation.ProviderSim.Pictures;

/// <summary>
/// "AI generated" in the bottom right corner, as Ark draws it unless it is disabled. Letters are strokes: no font need be installed.
/// </summary>
internal sealed class Watermark : Layer
{
    private const float LetterAdvance = 0.78f;
    private const float Margin = 0.3f;
    private const float StrokeWidth = 0.17f;

    /// <summary>SVG path data on a field 1 wide and 2 high, baseline at 1.5.</summary>
    private static readonly Dictionary<char, string> Letters = new()
    {
        ['A'] = "M0,1.5 .4,0 .8,1.5M.15,.95 .65,.95",
        ['I'] = "M.4,0 .4,1.5",
        ['g'] = "M.62,.6 .4,.5 .15,.62 .05,1 .15,1.38 .4,1.5 .62,1.4M.66,.5 .66,1.7 .55,1.92 .35,2 .1,1.92",
        ['e'] = "M.06,1 .68,1 .6,.65 .4,.5 .16,.63 .06,1 .14,1.35 .4,1.5 .64,1.38",
        ['n'] = "M.1,.5 .1,1.5M.1,.8 .25,.56 .45,.5 .6,.6 .64,.8 .64,1.5",
        ['r'] = "M.16,.5 .16,1.5M.16,.85 .3,.58 .56,.5",
        ['a'] = "M.12,.66 .34,.5 .56,.56 .64,.8 .64,1.5M.64,.95 .3,.95 .1,1.1 .1,1.36 .28,1.5 .5,1.42 .64,1.22",
        ['t'] = "M.32,.15 .32,1.3 .42,1.48 .62,1.45M.08,.52 .6,.52",
        ['d'] = "M.64,0 .64,1.5M.64,.62 .4,.5 .16,.63 .06,1 .16,1.37 .4,1.5 .64,1.35",

    };

    /// <summary>How much of each pixel the letters cover, of 255.</summary>
    private readonly byte[] mask;
    private readonly int maskWidth;
    private readonly int maskHeight;
    private readonly int left;
    private readonly int top;

    public Watermark(Frame frame, string text = "AI generated")
    {
        var size = Math.Max(4, frame.Unit * 0.0125f);
        maskWidth = (int)(text.Length * LetterAdvance * size + size);
        maskHeight = (int)(size * 2.6f);
        left = (int)(frame.Width - maskWidth - size);
        top = (int)(frame.Height - maskHeight - size * 0.6f);
        using var bitmap = new SKBitmap(new SKImageInfo(maskWidth, maskHeight, SKColorType.Alpha8), maskWidth);
        using var canvas = new SKCanvas(bitmap);
        using var pen = new SKPaint
        {
            IsStroke = true,
            StrokeWidth = StrokeWidth,
            StrokeCap = SKStrokeCap.Round,
            StrokeJoin = SKStrokeJoin.Round,
            IsAntialias = true
        };
        canvas.Scale(size);
        canvas.Translate(Margin, Margin);
        foreach (var letter in text)
        {
            if (Letters.TryGetValue(letter, out var strokes))
            {
                using var path = SKPath.ParseSvgPathData(strokes);
                canvas.DrawPath(path, pen);
            }

            canvas.Translate(LetterAdvance, 0);
        }

        mask = bitmap.GetPixelSpan().ToArray();
    }

    public override void Paint(Canvas canvas, float y)
    {
        var row = (int)y - top;
        if (row < 0 || row >= maskHeight)
        {
            return;
        }

        for (var column = Math.Max(0, -left); column < maskWidth; column++)
        {
            // A dark shadow one step down and right keeps the words legible on snow.
            var shadow = row > 1 && column > 1 ? mask[(row - 2) * maskWidth + column - 2] : (byte)0;
            canvas.Span(left + column, left + column + 1, default, shadow * 0.4f / 255);
            canvas.Span(left + column, left + column + 1, new Ink(255, 255, 255), mask[row * maskWidth + column] * 0.85f / 255);
        }
    }
}
