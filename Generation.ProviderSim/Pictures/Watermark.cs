namespace Generation.ProviderSim.Pictures;

/// <summary>"AI generated" in the bottom right corner, as Ark draws it unless it is told not to. Letters are strokes, so any size is sharp.</summary>
internal sealed class Watermark : Layer
{
    private const float LetterAdvance = 0.78f;

    /// <summary>Strokes on a field 1 wide and 2 high, baseline at 1.5; a stroke is a chain of points "x,y".</summary>
    private static readonly Dictionary<char, string> Letters = new()
    {
        ['A'] = "0,1.5 .4,0 .8,1.5;.15,.95 .65,.95",
        ['I'] = ".4,0 .4,1.5",
        ['g'] = ".62,.6 .4,.5 .15,.62 .05,1 .15,1.38 .4,1.5 .62,1.4;.66,.5 .66,1.7 .55,1.92 .35,2 .1,1.92",
        ['e'] = ".06,1 .68,1 .6,.65 .4,.5 .16,.63 .06,1 .14,1.35 .4,1.5 .64,1.38",
        ['n'] = ".1,.5 .1,1.5;.1,.8 .25,.56 .45,.5 .6,.6 .64,.8 .64,1.5",
        ['r'] = ".16,.5 .16,1.5;.16,.85 .3,.58 .56,.5",
        ['a'] = ".12,.66 .34,.5 .56,.56 .64,.8 .64,1.5;.64,.95 .3,.95 .1,1.1 .1,1.36 .28,1.5 .5,1.42 .64,1.22",
        ['t'] = ".32,.15 .32,1.3 .42,1.48 .62,1.45;.08,.52 .6,.52",
        ['d'] = ".64,0 .64,1.5;.64,.62 .4,.5 .16,.63 .06,1 .16,1.37 .4,1.5 .64,1.35",
        [' '] = "",
    };

    private readonly float[] mask;
    private readonly int maskWidth;
    private readonly int maskHeight;
    private readonly int left;
    private readonly int top;

    public Watermark(Frame frame, string text = "AI generated")
    {
        var size = Math.Max(4, frame.Unit * 0.0125f);
        var thickness = size * 0.085f;
        maskWidth = (int)(text.Length * LetterAdvance * size + size);
        maskHeight = (int)(size * 2.6f);
        mask = new float[maskWidth * maskHeight];
        left = (int)(frame.Width - maskWidth - size);
        top = (int)(frame.Height - maskHeight - size * 0.6f);
        for (var n = 0; n < text.Length; n++)
        {
            foreach (var stroke in Letters[text[n]].Split(';', StringSplitOptions.RemoveEmptyEntries))
            {
                var points = Array.ConvertAll(stroke.Split(' '), point => point.Split(','));
                for (var p = 0; p + 1 < points.Length; p++)
                    Draw(X(points[p][0]), Y(points[p][1]), X(points[p + 1][0]), Y(points[p + 1][1]));
            }

            float X(string x) => size * 0.3f + (n * LetterAdvance + float.Parse(x)) * size;
            float Y(string y) => size * 0.3f + float.Parse(y) * size;
        }

        void Draw(float x1, float y1, float x2, float y2)
        {
            var (dx, dy) = (x2 - x1, y2 - y1);
            var square = dx * dx + dy * dy;
            var reach = thickness + 2;
            for (var y = Math.Max(0, (int)(Math.Min(y1, y2) - reach)); y <= Math.Min(maskHeight - 1, Math.Max(y1, y2) + reach); y++)
            {
                for (var x = Math.Max(0, (int)(Math.Min(x1, x2) - reach)); x <= Math.Min(maskWidth - 1, Math.Max(x1, x2) + reach); x++)
                {
                    var t = Math.Clamp(((x - x1) * dx + (y - y1) * dy) / square, 0, 1);
                    var (ox, oy) = (x - x1 - t * dx, y - y1 - t * dy);
                    var cover = Math.Clamp(thickness - MathF.Sqrt(ox * ox + oy * oy) + 0.5f, 0, 1);
                    mask[y * maskWidth + x] = Math.Max(mask[y * maskWidth + x], cover);
                }
            }
        }
    }

    public override void Paint(Canvas canvas, float y)
    {
        var row = (int)y - top;
        if (row < 0 || row >= maskHeight) return;
        for (var column = Math.Max(0, -left); column < maskWidth; column++)
        {
            // A dark shadow one step down and right keeps the words legible on snow.
            var shadow = row > 1 && column > 1 ? mask[(row - 2) * maskWidth + column - 2] : 0;
            canvas.Span(left + column, left + column + 1, default, shadow * 0.4f);
            canvas.Span(left + column, left + column + 1, new Ink(255, 255, 255), mask[row * maskWidth + column] * 0.85f);
        }
    }
}
