"""The two programs of the graphics card: where a vertex goes, and what colour a point of the surface has."""

from captioner.synth.body3d.decals import BOTTOM, HEIGHT, LEFT, WIDTH

SKIN, TONGUE, TEETH, EYE = 0.0, 1.0, 2.0, 3.0  # materials

VERTEX = """#version 330
in vec3 position; in vec3 normal; in vec2 place; in vec3 rest; in float material; in vec3 ball;
uniform mat4 camera; uniform mat3 turn; uniform float shell;
out vec3 facing; out vec2 at; out vec3 home; flat out float kind; out vec3 globe;
void main() {
  gl_Position = camera * vec4(position + normal * shell, 1);
  facing = turn * normal; at = place; home = rest; kind = material; globe = ball;
}"""

_HAIR = """
vec3 hair() {  // a hairline: front.x high in front, behind depth front.y down to front.z, low temples by front.w
  float jag = .006 * (noise(home.xz * 260.) - .5) + .004 * (noise(home.xz * 900.) - .5);
  float line = mix(hairline.x - hairline.w * home.x * home.x * 60., hairline.z,
                   smoothstep(hairline.y - .035, hairline.y + .012, home.y));
  if (home.z + jag < line) discard;
  float angle = atan(home.x, home.y + .03);
  float strand = .5 * noise(vec2(angle * 60., home.z * 30.)) + .5 * noise(vec2(angle * 200., home.z * 60.));
  vec3 tone = texture(hairs, vec2(home.x * 6. + .5, home.z * 6.)).rgb * 1.4;
  return hair_colour * (.55 + .9 * strand) * mix(vec3(1), tone, .4);
}"""

_SKIN = f"""
vec3 flesh() {{
  vec4 painted = texture(decals, vec2((home.x - ({LEFT})) / {WIDTH}, (home.z - {BOTTOM}) / {HEIGHT}));
  float front = smoothstep(-.03, -.06, home.y);
  float strand = .6 + .6 * noise(vec2(home.x * 700. + home.z * 500., home.z * 1500.));
  vec3 c = texture(skin, at).rgb * tint;
  c *= 1. - clamp((painted.g * 2. - 1.) * front, -.3, .75);
  c = mix(c, brow_colour, clamp(painted.r * front * brows * strand, 0., 1.));
  c = mix(c, hair_colour * .8, painted.b * smoothstep(.02, -.03, home.y) * beard * (.5 + .5 * noise(home.xz * 1200.)));
  c = mix(c, c * lip_colour, painted.a * front * lips);
  float inside = smoothstep(.035, .02, abs(home.x)) * smoothstep(-.118, -.100, home.y)
               * step(.555, home.z) * step(home.z, .60) * step(home.y, -.03);
  return c * mix(vec3(1), vec3(.35, .18, .17), inside);
}}"""

_EYE = """
vec3 eyeball(vec3 n, out float shade) {
  vec3 g = normalize(globe), z = normalize(gaze), x = normalize(cross(z, vec3(0, 0, 1))), y = cross(x, z);
  float ahead = dot(g, z), r = sqrt(max(0., 1. - ahead * ahead)) / iris_size;
  vec3 white = vec3(.82, .79, .77) * sclera;
  white = mix(white, white * vec3(1., .82, .8), smoothstep(.9, 2., r) * .6);
  vec3 iris = texture(irises, vec2(.293, .707) + vec2(dot(g, x), dot(g, y)) / iris_size * .113).rgb;
  iris = mix(iris * .62, vec3(.01), smoothstep(.42, .34, r)) * mix(.45, 1., smoothstep(1.02, .8, r));
  shade = mix(.55, 1., smoothstep(.42, -.05, g.z));
  vec3 c = ahead > 0. ? mix(iris, white, smoothstep(.94, 1.06, r)) : white;
  return c + pow(max(0., dot(n, normalize(light[0] + vec3(0, 0, 1)))), 180.) * gloss;
}"""

FRAGMENT = f"""#version 330
in vec3 facing; in vec2 at; in vec3 home; flat in float kind; in vec3 globe; out vec4 colour;
uniform sampler2D skin, decals, grain, irises, hairs;
uniform vec3 light[3], lamp[3];
uniform vec3 above, below, gaze, brow_colour, tint, hair_colour, lip_colour;
uniform vec4 hairline;
uniform float shell, brows, shine, lips, beard, iris_size, sclera, gloss;
float noise(vec2 p) {{ return texture(grain, p / 128.).r; }}
{_HAIR}{_SKIN}{_EYE}
void main() {{
  vec3 n = normalize(facing), c; float shade = 1., spark = shine;
  if (shell > 0.) {{ c = hair(); spark = .15; }}
  else if (kind < .5) c = flesh();
  else if (kind < 1.5) {{ c = vec3(.62, .28, .27) * .8; shade = .65; spark = .3; }}
  else if (kind < 2.5) {{ c = vec3(.93, .9, .82) * .9; shade = smoothstep(.028, .004, abs(home.x)) * .45 + .45;
    spark = .3; }}
  else {{ c = eyeball(n, shade); spark = 0.; }}
  vec3 sum = mix(below, above, n.y * .5 + .5);
  for (int i = 0; i < 3; i++) {{
    float fall = dot(n, light[i]);
    sum += lamp[i] * clamp((fall + .15) / 1.15, 0., 1.);
    c += lamp[i] * spark * pow(max(0., dot(n, normalize(light[i] + vec3(0, 0, 1)))), 18.) * step(0., fall);
  }}
  colour = vec4(clamp(c * sum * shade, 0., 1.), 1.);
}}"""
